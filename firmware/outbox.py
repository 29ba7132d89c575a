"""Sealed envelopes that wait in RAM until the hub has acknowledged them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

WINDOW = 64
"""Envelopes that may be with the uplink, unacknowledged, at one time."""


class Outbox:
    """A bounded queue in the order of arrival; nothing in it survives power-off.

    When it is full the oldest waiting envelope gives way and is counted, so that the newest
    figures arrive and the loss is known.

    Args:
        capacity: envelopes held at most, ≥ 1.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.dropped = 0
        self.delivered = 0
        self._waiting: dict[int, bytes] = {}
        self._with_uplink: dict[int, bytes] = {}  # always older than everything that waits

    def __len__(self) -> int:
        return len(self._waiting) + len(self._with_uplink)

    def put(self, number: int, envelope: bytes) -> bool:
        """Keep an envelope. Returns False when an older one had to be dropped for it."""
        full = len(self) >= self.capacity
        if full:
            queue = self._waiting or self._with_uplink
            del queue[next(iter(queue))]
            self.dropped += 1
        self._waiting[number] = envelope
        return not full

    def hand_over(self) -> Iterator[tuple[int, bytes]]:
        """Envelopes to give to the uplink now, oldest first, as far as the window allows."""
        while self._waiting and len(self._with_uplink) < WINDOW:
            number = next(iter(self._waiting))
            envelope = self._with_uplink[number] = self._waiting.pop(number)
            yield number, envelope

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Forget what the hub has stored; a number that is not here is no error."""
        for number in numbers:
            held = self._with_uplink.pop(number, None) or self._waiting.pop(number, None)
            self.delivered += held is not None

    def take_back(self) -> None:
        """The uplink is gone: what it had waits again, in the old order."""
        self._waiting = {**self._with_uplink, **self._waiting}
        self._with_uplink.clear()

    @property
    def totals(self) -> dict[str, Any]:
        return {"waiting": len(self), "delivered": self.delivered, "dropped": self.dropped}
