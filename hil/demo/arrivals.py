"""What arrived at the hub, and what the key's holder reads in it."""

from __future__ import annotations

import contextlib
from itertools import islice
from pathlib import Path

from firmware import envelope
from firmware.errors import SealError
from firmware.reader import Reader
from hil.demo.terminal import Screen
from hil.local_hub import Event, events


class Arrivals:
    """Counts and opens the hub's messages.

    Args:
        capture: the hub's file of messages.
        reader: holds the private key.

    Attributes:
        delivered: numbers of the interactions that the hub has stored, opened or not.
        opened: numbers of those that opened and are what they should be.
        duplicates: envelopes that came more than once.
        messages, octets: that the hub took.
    """

    def __init__(self, capture: Path, reader: Reader, shown: Screen) -> None:
        self.delivered: set[int] = set()
        self.opened: set[int] = set()
        self.refused: list[SealError] = []
        self.duplicates = self.messages = self.octets = 0
        self._capture = capture
        self._reader = reader
        self._shown = shown

    def take(self, arrived: Event) -> None:
        """One message: count what is in it as the hub could, then open it."""
        self.messages += 1
        self.octets += len(arrived.body)
        sealed = _interactions(arrived.body)
        self.delivered.update(sealed)
        reading = self._reader.read(arrived.body, arrived.device)
        self.duplicates += reading.duplicates
        self.refused += reading.refused
        for opened in reading.records:
            if opened.number in sealed and opened.kind == "interaction":
                self.opened.add(opened.number)
                self._shown.record(opened, sealed[opened.number])

    def finish(self) -> None:
        """Take what the hub has stored and `take` has not been given yet."""
        for arrived in islice(events(self._capture), self.messages, None):
            self.take(arrived)


def _interactions(body: bytes) -> dict[int, bytes]:
    """Number and ciphertext of each interaction in a message, as far as anybody can tell."""
    found: dict[int, bytes] = {}
    with contextlib.suppress(SealError):  # the reader says what is wrong with it
        for signed in envelope.unpack(body):
            header, _, ciphertext = envelope.split(envelope.split_signature(signed)[0])
            if header.kind is envelope.Kind.INTERACTION:
                found[header.number] = ciphertext
    return found
