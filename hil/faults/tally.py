"""What has come of the records: sealed, stored by the hub, given out by the reader."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firmware import envelope
from firmware.device_trust import DeviceTrust
from firmware.reader import Reader
from firmware.recipient import PrivateKey
from firmware.record import Interaction
from hil.local_hub import events


class Tally:
    """Counts records by their numbers.

    Args:
        truth: file of all numbers that were ever sealed.
        capture: what the hub has stored.
        issued: folder of the device's certificates.

    Attributes:
        secrets: private key files of every recipient that the operator has named so far.
        stored: interaction number → how often the hub has stored it, in its order.
    """

    def __init__(self, truth: Path, capture: Path, issued: Path) -> None:
        self.secrets: list[Path] = []
        self.stored: Counter[int] = Counter()
        self._truth = truth
        self._capture = capture
        self._issued = issued
        self._read_to = 0

    def sealed(self) -> list[int]:
        """All numbers that were ever sealed, in order."""
        return [int(line) for line in self._truth.read_text("ascii").splitlines()]

    def look(self) -> int:
        """Read what the hub has stored since; → records stored so far, each counted once."""
        with self._capture.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self._count(json.loads(line))
        return len(self.stored)

    def opened(self) -> Counter[int]:
        """What the reader makes of the capture: number → how often it gave it out."""
        return Counter(number for number, _ in self._given_out())

    def span_s(self) -> int:
        """Seconds from the first to the last visitor that the reader gives out."""
        starts = [record.start_utc_s for _, record in self._given_out()]
        return max(starts) - min(starts)

    def tampered(self, chance: random.Random, times: int = 1000) -> dict[str, int]:
        """Give messages to the reader again, whole and with one bit changed: what does it take?"""
        keys, trust = self._keys(), self._trust()
        reader, messages = Reader(keys, trust), list(events(self._capture))
        for event in messages:
            reader.read(event.body, event.device)
        replayed = altered = 0
        for _ in range(times):
            event = chance.choice(messages)
            replayed += len(reader.read(event.body, event.device).records)
            body = bytearray(event.body)
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
            taken = Reader(keys, trust).read(bytes(body), event.device).records
            altered += len(taken) == len(envelope.unpack(event.body))
        return {
            "replayed": times,
            "replayed_taken": replayed,
            "altered": times,
            "altered_taken_whole": altered,
        }

    def _given_out(self) -> Iterator[tuple[int, Interaction]]:
        reader = Reader(self._keys(), self._trust())
        for event in events(self._capture):
            reading = reader.read(event.body, event.device)
            assert not reading.refused, reading.refused
            for one in reading.records:
                if isinstance(one.record, Interaction):
                    yield one.number, one.record

    def _keys(self) -> list[PrivateKey]:
        return [PrivateKey.load(path) for path in self.secrets]

    def _trust(self) -> DeviceTrust:
        return DeviceTrust.from_folder(self._issued)

    def _count(self, line: dict[str, Any]) -> None:
        if line["properties"].get("kind") != "records":
            return
        for signed in envelope.unpack(base64.b64decode(line["body"])):
            self.stored[envelope.split(signed)[0].number] += 1
