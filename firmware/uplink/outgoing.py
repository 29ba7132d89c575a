"""What waits for the hub: records, the twin's reported properties, method answers, health.

The channel's thread puts, the courier's thread takes. Nothing is removed before the hub has
acknowledged it, so a resend repeats the same message under the same id.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from firmware.envelope import MAX_BODY, pack

LINGER_S = 0.3
"""A record waits so long for others to fill its hub message: Azure meters 4 KB blocks."""
_HEALTH_KEPT = 32
_PACKED_AT_MOST = 16
"""More envelopes than fit into one hub message: the smallest has 600 bytes."""


@dataclass(frozen=True)
class Parcel:
    """One device-to-cloud message.

    Attributes:
        numbers: the interactions in it; none in a health record.
        message_id: made of the numbers, so that sending them again repeats it.
    """

    kind: str
    body: bytes
    message_id: str
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Patch:
    """Reported properties as a merge patch."""

    properties: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """The result of a direct method."""

    request: str
    status: int
    payload: dict[str, Any]


class Outgoing:
    """Thread-safe queues with one order of precedence: answers, patch, records, health."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._answers: deque[Answer] = deque()
        self._patch: dict[str, Any] = {}
        self._records: deque[tuple[int, bytes, float]] = deque()
        self._health: deque[Parcel] = deque(maxlen=_HEALTH_KEPT)
        self._parcel: Parcel | None = None
        self._awake = False
        self._hurried = False

    # ---- the channel's side --------------------------------------------------------------------

    def put_record(self, number: int, signed: bytes) -> None:
        with self._changed:
            self._records.append((number, signed, time.monotonic()))
            self._changed.notify()

    def put_health(self, number: int, signed: bytes) -> None:
        """Only the newest are kept while the hub is away."""
        body, _ = pack([signed])
        with self._changed:
            self._health.append(Parcel("health", body, f"h{number}"))
            self._changed.notify()

    def put_patch(self, properties: dict[str, Any]) -> None:
        with self._changed:
            self._patch = merged(self._patch, properties)
            self._changed.notify()

    def put_answer(self, answer: Answer) -> None:
        with self._changed:
            self._answers.append(answer)
            self._changed.notify()

    def hurry(self) -> None:
        """From now on nothing waits for company: the device is stopping."""
        with self._changed:
            self._hurried = True
            self._changed.notify()

    def wake(self) -> None:
        """Make a waiting `next` return None: the connection is gone."""
        with self._changed:
            self._awake = True
            self._changed.notify()

    # ---- the courier's side --------------------------------------------------------------------

    def next(self, timeout_s: float) -> Parcel | Patch | Answer | None:
        """What to send now; None when there is nothing for `timeout_s`, or after `wake`."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while not self._awake:
                now = time.monotonic()
                found = self._first(now)
                if found or now >= until:
                    return found
                linger = self._records[0][2] + LINGER_S - now if self._records else timeout_s
                self._changed.wait(max(min(linger, until - now), 0.001))
            self._awake = False
            return None

    def sent(self, item: Parcel | Patch | Answer) -> None:
        """The hub has acknowledged what `next` gave last."""
        with self._changed:
            match item:
                case Answer():
                    self._answers.popleft()
                case Patch(properties):
                    # What was put meanwhile stays; what equals the sent value does no harm.
                    if self._patch is properties:
                        self._patch = {}
                case Parcel(kind="health"):
                    if self._health and self._health[0] is item:
                        self._health.popleft()
                case Parcel(numbers=numbers):
                    self._parcel = None
                    for _ in numbers:
                        self._records.popleft()

    def disconnected(self) -> None:
        """Answers to a connection that is gone reach nobody."""
        with self._changed:
            self._answers.clear()
            self._awake = False

    @property
    def empty(self) -> bool:
        with self._changed:
            return not (self._answers or self._patch or self._records or self._health)

    def _first(self, now: float) -> Parcel | Patch | Answer | None:
        if self._answers:
            return self._answers[0]
        if self._patch:
            return Patch(self._patch)
        if self._records:
            return self._records_parcel(now)
        return self._health[0] if self._health else None

    def _records_parcel(self, now: float) -> Parcel | None:
        if self._parcel is None:
            head = [self._records[i] for i in range(min(len(self._records), _PACKED_AT_MOST))]
            body, taken = pack([signed for _, signed, _ in head])
            # Records of one device have one length: what is left of the body tells the rest.
            full = taken < len(head) or len(body) + len(head[-1][1]) > MAX_BODY
            if not (full or self._hurried or now >= head[0][2] + LINGER_S):
                return None
            numbers = tuple(number for number, _, _ in head[:taken])
            self._parcel = Parcel("records", body, f"{numbers[0]}-{numbers[-1]}", numbers)
        return self._parcel


def merged(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Two merge patches as one (RFC 7396, but a None is kept: it still has to delete)."""
    result = dict(older)
    for key, value in newer.items():
        before = result.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        result[key] = merged(before, value) if both and isinstance(before, dict) else value
    return result
