"""The ingest loop: messages in, batches stored, position kept after the commit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db import DatabaseError, close_old_connections, connection

from flow.ingest.opening import Message, Opener
from flow.ingest.store import Batch, Outcome, store
from flow.models import Checkpoint

BATCH_MESSAGES = 700
"""About 2,000 records: three sealed interactions fit into one hub message."""
BATCH_S = 1.0
RENEW_S = 60.0
GIVE_UP_S = 600.0

Result = TypeVar("Result")


def patiently(
    work: Callable[[], Result],
    told: Callable[[DatabaseError], object] = lambda error: None,
    pause: Callable[[float], None] = time.sleep,
) -> Result:
    """What `work` returns; while the database is away, try again with growing, jittered pauses.

    Args:
        told: is given the first error.

    Raises:
        DatabaseError: it stayed away for ten minutes.
    """
    waited = 0.0
    delay = 0.2
    while True:
        try:
            return work()
        except DatabaseError as error:
            connection.close()
            if waited > GIVE_UP_S:
                raise
            if not waited:
                told(error)
            wait = delay * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)
            pause(wait)
            waited += wait
            delay = min(delay * 2, 15.0)


def stored(batch: Batch) -> Outcome:
    """Store a batch, patiently.

    Raises:
        DatabaseError: it could not be. Nothing was acknowledged, so the hub still has everything.
    """
    return patiently(lambda: store(batch))


def run(
    messages: Iterable[Message | None],
    opener: Opener,
    source: str,
    told: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Store everything that a source yields, until it ends.

    Args:
        source: the name under which the position is kept.
        told: is given each batch's outcome.
    """
    waiting: list[Message] = []
    opened_at = renewed_at = time.monotonic()

    def close() -> None:
        outcome = stored(opener.open(waiting))
        Checkpoint.objects.update_or_create(
            source=source, defaults={"position": waiting[-1].position}
        )
        waiting.clear()
        told(outcome)

    for message in messages:
        now = time.monotonic()
        if now - renewed_at > RENEW_S:
            opener.renew()
            close_old_connections()
            renewed_at = now
        if message is not None:
            if not waiting:
                opened_at = now
            waiting.append(message)
        if waiting and (
            message is None or len(waiting) >= BATCH_MESSAGES or now - opened_at > BATCH_S
        ):
            close()
    if waiting:
        close()


def position(source: str) -> int:
    """Where to take a source up again."""
    found = Checkpoint.objects.filter(source=source).values_list("position", flat=True).first()
    return found or 0
