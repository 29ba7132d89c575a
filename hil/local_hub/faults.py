"""Faults on command: which packet goes wrong, and how. Seeded, so that a run can be repeated."""

from __future__ import annotations

import fnmatch
import random
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hil.local_hub import garbage
from hil.local_hub.errors import ServiceError

Point = Literal["connect", "telemetry", "twin", "method", "dps_connect", "dps"]
"""Where in a device's conversation: its CONNECT, or a publish of that kind."""

Action = Literal[
    "abort",  # reset the TCP connection before the packet has any effect
    "silence",  # say nothing any more, keep the connection open (black hole)
    "garbage",  # answer with something of `kind` that is no answer
    "drop",  # the packet has no effect and no acknowledgement
    "delay",  # acknowledge after `seconds`
    "no_ack",  # take effect, never acknowledge
    "die_after_store",  # take effect, then reset the connection instead of acknowledging
    "restart",  # take effect, then the whole hub is away for `seconds`
    "refuse",  # CONNACK with `code`; a twin or DPS request is answered with status `code`
    "throttle",  # a twin or DPS request is answered with 429; telemetry is held for `seconds`
]

_CONNECTS = {"connect", "dps_connect"}
_REQUESTS = {"twin", "dps"}
_PUBLISHES = {"telemetry", "method", *_REQUESTS}
_POINTS: dict[str, set[str]] = {
    **dict.fromkeys(("abort", "silence", "garbage"), _CONNECTS | _PUBLISHES),
    **dict.fromkeys(("drop", "delay", "no_ack", "die_after_store", "restart"), _PUBLISHES),
    "refuse": _CONNECTS | _REQUESTS,
    "throttle": {"telemetry", *_REQUESTS},
}


@dataclass(slots=True)
class Fault:
    """One kind of trouble.

    Raises:
        ServiceError: 400 for an unknown action, one that makes no sense there, or a value out of
            range.
    """

    action: Action
    point: Point = "telemetry"
    device: str = "*"
    """Shell pattern for the device's name."""
    probability: float = 1.0
    count: int | None = None
    """How often it still strikes; None: until cleared."""
    skip: int = 0
    """How many packets that it would have struck pass unharmed first."""
    seconds: float = 1.0
    code: int = 0
    """Of `refuse`; 0: 3 (server unavailable) for CONNACK, 500 for a request."""
    forget_sessions: bool = False
    """Whether the hub comes back from `restart` without its sessions."""
    kind: garbage.Kind = "random"
    """Of `garbage`."""

    def __post_init__(self) -> None:
        if self.point not in _POINTS.get(self.action, ()):
            raise ServiceError(
                400,
                f"no fault {self.action!r} at {self.point!r}",
                remedy="; ".join(f"{one}: {' '.join(sorted(at))}" for one, at in _POINTS.items()),
            )
        if self.kind not in (garbage.KINDS if self.point in _REQUESTS else garbage.OCTETS):
            raise ServiceError(
                400,
                f"no garbage {self.kind!r} at {self.point!r}",
                remedy=f"anywhere: {' '.join(sorted(garbage.OCTETS))}; "
                f"at {' '.join(sorted(_REQUESTS))} also: "
                + " ".join(sorted(garbage.KINDS - garbage.OCTETS)),
            )
        if not 0 <= self.probability <= 1 or self.seconds < 0 or self.count == 0:
            raise ServiceError(
                400,
                "a fault's probability, seconds or count is out of range",
                remedy="probability 0 … 1, seconds ≥ 0, count ≥ 1",
            )
        self.code = self.code or (3 if self.point in _CONNECTS else 500)


class Faults:
    """The faults that are armed, in order; the first that strikes wins."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._armed: list[Fault] = []
        self.struck = 0

    def arm(self, fault: Fault) -> None:
        self._armed.append(fault)

    def clear(self) -> None:
        self._armed.clear()

    def armed(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._armed]

    def strike(self, point: Point, device: str) -> Fault | None:
        """The fault that strikes this packet, if any does."""
        for fault in self._armed:
            if fault.point != point or not fnmatch.fnmatchcase(device, fault.device):
                continue
            if self._random.random() >= fault.probability:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    self._armed.remove(fault)
            self.struck += 1
            return fault
        return None

    def garbage(self, fault: Fault, device: str, topic: str) -> bytes:
        return garbage.garbage(fault.kind, device, topic, self._random)
