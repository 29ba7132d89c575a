"""Everything that goes wrong in a campaign, and how often."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hil.faults.link import Link
from hil.faults.rig import ACKNOWLEDGE_S, DEVICE, Rig

HANG_WITHIN_S = ACKNOWLEDGE_S + 6.0
"""The watchdog's time, and then: a pause, a process start and a connection, on a busy machine."""
PAUSES_WITHIN_S = 15.0
"""What fails at once is tried again after pauses of up to 4 s, and may fail a few times."""
HOUR_S = 3600
YEAR_S = 365 * 24 * HOUR_S


@dataclass(frozen=True)
class Injection:
    """One kind of fault.

    Attributes:
        strike: does it; returns when it is over, as far as the rig can tell.
        share: how many of 1000 faults are of this kind.
        times: faults that one strike counts for.
        within_s: the longest time without a new record that it may cost.
    """

    name: str
    strike: Callable[[Rig], None]
    share: int
    times: int = 1
    within_s: float = PAUSES_WITHIN_S


def deck(link: Link, clock_can_jump: bool, wanted: int, chance: random.Random) -> list[Injection]:
    """At least `wanted` faults in random order, each kind by its share and at least once."""
    kinds = list(_kinds(link, clock_can_jump))
    whole = sum(kind.share for kind in kinds)
    cards = [
        kind
        for kind in kinds
        for _ in range(max(1, -(-wanted * kind.share // (whole * kind.times))))
    ]
    chance.shuffle(cards)
    return cards


def _kinds(link: Link, clock_can_jump: bool) -> Iterator[Injection]:
    yield from _hangs()
    for action in ("abort", "die_after_store"):
        yield Injection(f"telemetry: {action}", _armed(action, "telemetry", 3), 250, 3)
    yield Injection("telemetry: delayed acknowledgement", _delayed, 100, 3)
    yield Injection("telemetry: garbage", _armed("garbage", "telemetry", 1), 20)
    yield Injection("connect: refused (unavailable)", _refused(3), 60, 2)
    yield Injection("connect: refused (unauthorised), registered anew", _refused(5), 20)
    yield Injection("connect: garbage", _at_connect("garbage"), 15)
    yield Injection("hub restarts, sessions kept", _restart(forget=False), 25)
    yield Injection("hub restarts, sessions lost", _restart(forget=True), 25)
    for kind in ("stranger", "expired", "other_name"):
        yield Injection(f"hub's certificate swapped: {kind}", _certificate(kind), 8)
    yield Injection("registration: aborted", _registration("abort", "dps_connect"), 8)
    yield Injection("registration: 429", _registration("throttle", "dps"), 8)
    yield Injection("registration: 500", _registration("refuse", "dps"), 8)
    yield Injection("names do not resolve", _no_dns, 15)
    yield Injection("registration: black hole", _registration("silence", "dps", 1), 8)
    yield Injection("telemetry: throttled", _armed("throttle", "telemetry", 1), 15)
    yield Injection("device disabled for a while", _disable, 10)
    yield Injection("identity used twice", _impostor, 8)
    yield Injection("recipient renewed by the operator", _new_recipient, 8)
    yield Injection("recipient swapped by the hub", _swap_recipient, 8)
    yield Injection("uplink killed", _kill_uplink, 40)
    yield Injection("supervisor stopped by SIGTERM", _stop_supervisor, 12)
    yield Injection("certificate rotated", _rotate, 6)
    if clock_can_jump:
        yield Injection("clock an hour ahead", _clock(HOUR_S, drop=False), 10)
        yield Injection("clock an hour behind", _clock(-HOUR_S, drop=False), 10)
        yield Injection("clock two years ahead, connection lost", _clock(2 * YEAR_S, drop=True), 8)
        yield Injection("clock in 1990, connection lost", _clock(-36 * YEAR_S, drop=True), 8)
        yield Injection("clock in 1990 at the start", _start_in_1990, 8)
    if link.can_lose:
        yield Injection("20 % of packets lost for 5 s", _loss(link), 12)


def _hangs() -> Iterator[Injection]:
    """What only the watchdog ends, or the supervisor's patience with a silent child."""
    for name, strike, share in (
        ("telemetry: no acknowledgement", _armed("no_ack", "telemetry", 1), 25),
        ("telemetry: dropped silently", _armed("drop", "telemetry", 1), 25),
        ("telemetry: black hole", _armed("silence", "telemetry", 1), 20),
        ("connect: black hole", _at_connect("silence"), 15),
        ("twin: no answer", _at_connect("drop", "twin"), 15),
        ("uplink frozen", _freeze_uplink, 15),
    ):
        yield Injection(name, strike, share, within_s=HANG_WITHIN_S)


def _armed(action: str, point: str, count: int) -> Callable[[Rig], None]:
    def strike(rig: Rig) -> None:
        rig.hub.fault(action, point, count=count)  # type: ignore[arg-type]

    return strike


def _delayed(rig: Rig) -> None:
    rig.hub.fault("delay", "telemetry", count=3, seconds=0.5)


def _at_connect(action: str, point: str = "connect") -> Callable[[Rig], None]:
    """Break the connection so that the next one meets the fault."""

    def strike(rig: Rig) -> None:
        rig.hub.fault(action, point, count=1)  # type: ignore[arg-type]
        rig.hub.kick(DEVICE)

    return strike


def _refused(code: int) -> Callable[[Rig], None]:
    def strike(rig: Rig) -> None:
        rig.hub.fault("refuse", "connect", count=2 if code == 3 else 1, code=code)
        rig.hub.kick(DEVICE)

    return strike


def _restart(*, forget: bool) -> Callable[[Rig], None]:
    def strike(rig: Rig) -> None:
        rig.hub.restart(1.0, forget_sessions=forget)
        time.sleep(1.0)

    return strike


def _certificate(kind: str) -> Callable[[Rig], None]:
    def strike(rig: Rig) -> None:
        rig.hub.certificate(kind)  # type: ignore[arg-type]
        rig.hub.kick(DEVICE)
        time.sleep(1.5)
        rig.hub.certificate("good")

    return strike


def _registration(action: str, point: str, count: int = 2) -> Callable[[Rig], None]:
    """Refused by the hub, so that it has to register, and registration is in trouble too."""

    def strike(rig: Rig) -> None:
        rig.hub.fault(action, point, count=count, seconds=1.0, code=500)  # type: ignore[arg-type]
        _refused(5)(rig)

    return strike


def _no_dns(rig: Rig) -> None:
    rig.set_dns(works=False)
    rig.hub.kick(DEVICE)
    time.sleep(1.5)
    rig.set_dns(works=True)


def _kill_uplink(rig: Rig) -> None:
    uplink = rig.uplink()
    if uplink:
        uplink.kill()


def _freeze_uplink(rig: Rig) -> None:
    uplink = rig.uplink()
    if uplink:
        uplink.freeze()


def _disable(rig: Rig) -> None:
    rig.hub.enable(DEVICE, enabled=False)
    time.sleep(1.5)
    rig.hub.enable(DEVICE)


def _impostor(rig: Rig) -> None:
    rig.impostor(3.0)


def _new_recipient(rig: Rig) -> None:
    rig.new_recipient()


def _swap_recipient(rig: Rig) -> None:
    rig.swap_recipient()


def _stop_supervisor(rig: Rig) -> None:
    if rig.stop() != 0:
        raise AssertionError("the supervisor did not stop in order")
    rig.start()


def _rotate(rig: Rig) -> None:
    status, _ = rig.hub.call(DEVICE, "rotate")
    until = time.monotonic() + 10
    while status == 202 and time.monotonic() < until:
        if rig.hub.twin(DEVICE)["reported"].get("identity", {}).get("request"):
            rig.renew()
            return
        time.sleep(0.1)


def _clock(offset_s: int, *, drop: bool) -> Callable[[Rig], None]:
    def strike(rig: Rig) -> None:
        rig.set_clock(offset_s)
        if drop:
            rig.hub.kick(DEVICE)
        time.sleep(1.5)
        rig.set_clock(0)

    return strike


def _start_in_1990(rig: Rig) -> None:
    if rig.stop() != 0:
        raise AssertionError("the supervisor did not stop in order")
    rig.set_clock(-36 * YEAR_S)
    rig.start()
    time.sleep(3.0)
    rig.set_clock(0)


def _loss(link: Link) -> Callable[[Rig], None]:
    def strike(rig: Rig) -> None:
        del rig
        link.lose(20)
        # The next faults strike on top of it, and what it delays counts as a stall.
        threading.Timer(5.0, link.lose, (0,)).start()

    return strike
