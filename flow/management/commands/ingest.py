"""`python -m flow ingest`: read sealed records from a hub and store them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from flow.ingest import sources, worker
from flow.ingest.opening import Message, Opener, recipient_keys
from flow.ingest.store import Outcome


class Command(BaseCommand):
    help = "Open sealed records and store them; FLOW_RECIPIENT_KEYS names the private keys."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--event-hub", action="store_true", help="IoT Hub (FLOW_EVENT_HUB_…)")
        which.add_argument("--local-hub", type=Path, metavar="STATE", help="a local hub's folder")
        which.add_argument("--capture", type=Path, metavar="FILE", help="a local hub's capture")
        parser.add_argument("--part", type=int, default=0, help="with --capture: which share")
        parser.add_argument("--parts", type=int, default=1, help="with --capture: of how many")
        parser.add_argument("--again", action="store_true", help="from the beginning")
        parser.add_argument(
            "--drain", action="store_true", help="with --local-hub: end when nothing more comes"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        keys = recipient_keys()
        opener = worker.patiently(lambda: Opener(keys), self._wait)
        if options["event_hub"]:
            from flow.ingest import event_hub  # noqa: PLC0415 (only this one needs the SDK)

            event_hub.run(opener, event_hub.client())
            return
        if options["local_hub"]:
            source = f"hub:{options['local_hub'].resolve()}"
            after = 0 if options["again"] else worker.position(source)
            arriving: Iterator[Message | None] = sources.local_hub(options["local_hub"], after)
            if options["drain"]:
                arriving = takewhile(lambda message: message is not None, arriving)
            worker.run(arriving, opener, source, self._tell)
            return
        part, parts = options["part"], options["parts"]
        source = f"capture:{options['capture'].resolve()}:{part}/{parts}"
        after = 0 if options["again"] else worker.position(source)
        messages = sources.capture(options["capture"], after, part, parts)
        worker.run(messages, opener, source, self._tell)

    def _wait(self, error: DatabaseError) -> None:
        """Nothing was asked yet but for the sensors: the error holds nothing about visitors."""
        reason = " ".join(str(error).split())
        self.stderr.write(f"the database does not answer, trying again: {reason}")

    def _tell(self, outcome: Outcome) -> None:
        self.stdout.write(
            f"stored={outcome.new} known={outcome.duplicates} "
            f"quarantined={outcome.quarantined} health={outcome.health}"
        )
