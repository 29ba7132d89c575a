"""When a child that ended is started again: a hang must cost the watchdog's time and no more."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from firmware import deadline, launcher, messages, supervisor, ward
from firmware.settings import check
from firmware.ward import Ward


def ended(name: launcher.Name) -> launcher.Child:
    """A child that is over with status 15 as soon as it is looked at."""
    del name
    ours, theirs = messages.pair()
    theirs.close()
    return launcher.Child(subprocess.Popen([sys.executable, "-c", "raise SystemExit(15)"]), ours)


class Clock:
    """Monotonic time that moves when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(ward, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr("random.uniform", lambda low, high: high)  # the longest pause

    def pause_after(self, child: Ward, lived_s: float) -> float:
        """Start it, let it end after so long: → seconds until it is due."""
        child.start(messages.Stop())
        self.now += lived_s
        assert not list(child.heard())
        before = self.now
        while not child.due:
            self.now += 0.25
        return self.now - before


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_pauses_of_a_child_that_crashes_at_once_grow_to_a_minute(clock: Clock) -> None:
    child = Ward("uplink", ended, silent_s=15.0, steady_s=30.0)
    pauses = [clock.pause_after(child, 1.0) for _ in range(10)]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses[-2:] == [60.0, 60.0]


def test_a_child_that_ran_long_is_back_at_once(clock: Clock) -> None:
    child = Ward("vision", ended, silent_s=60.0)
    assert [clock.pause_after(child, 1.0) for _ in range(4)][-1] == 4.0
    assert clock.pause_after(child, ward.STEADY_S) == 0.5


@pytest.mark.parametrize(("acknowledge_s", "lived_s"), [(1.0, 1.0), (30.0, 30.0), (600.0, 60.0)])
def test_an_uplink_that_its_watchdog_ends_is_back_at_once_however_often(
    clock: Clock, acknowledge_s: float, lived_s: float
) -> None:
    current = check({"hub": {"acknowledge_s": acknowledge_s}})
    keeper = supervisor.Supervisor(current, device="d", recipient_key=b"", start=ended)
    assert [clock.pause_after(keeper.uplink, lived_s) for _ in range(8)] == [0.5] * 8


def test_an_orderly_end_needs_no_pause(clock: Clock) -> None:
    def goes(name: launcher.Name) -> launcher.Child:
        del name
        ours, theirs = messages.pair()
        theirs.close()
        return launcher.Child(subprocess.Popen(["true"]), ours)

    assert clock.pause_after(Ward("vision", goes, silent_s=60.0), 1.0) == 0.0


@pytest.mark.parametrize("spoke", [False, True])
def test_an_uplink_that_falls_silent_is_noticed_long_before_vision(
    clock: Clock, spoke: bool
) -> None:
    far_ends = []

    def speaks(name: launcher.Name) -> launcher.Child:
        del name
        ours, theirs = messages.pair()
        far_ends.append(theirs)
        return launcher.Child(subprocess.Popen(["true"]), ours)

    keeper = supervisor.Supervisor(check({}), device="d", recipient_key=b"", start=speaks)
    for child in (keeper.vision, keeper.uplink):
        child.start(messages.Stop())
    clock.now += 1.0
    if spoke:
        for child, end in zip((keeper.vision, keeper.uplink), far_ends, strict=True):
            messages.send(end, messages.HubLost("not there"))
            assert len(list(child.heard())) == 1
    silent = []
    for seconds in (0.0, 20.0, 50.0, deadline.START_S):
        clock.now += seconds
        silent.append((keeper.uplink.silent, keeper.vision.silent))
    # before its first word either may be loading what it needs
    assert silent == [(False, False), (spoke, False), (spoke, spoke), (True, True)]
    for end in far_ends:
        end.close()
    for child in (keeper.vision, keeper.uplink):
        assert not list(child.heard())
