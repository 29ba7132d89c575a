"""The fault campaign's own arithmetic: a campaign that counts wrongly proves nothing."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from hil.faults import sdk
from hil.faults.aftermath import return_of_many
from hil.faults.campaign import COUNTED, Campaign, Kind, events, passed
from hil.faults.injections import HANG_WITHIN_S, PAUSES_WITHIN_S, deck
from hil.faults.link import Link
from hil.faults.processes import Process
from hil.faults.rig import Rig
from hil.report import ROOT

CHANCE = random.Random(1)


def link(*, can_lose: bool) -> Link:
    return cast(Link, SimpleNamespace(can_lose=can_lose, lose=lambda _: None))


@pytest.mark.parametrize("wanted", [1, 60, 500])
def test_a_deck_has_enough_faults_and_every_kind(wanted: int) -> None:
    everything = {card.name for card in deck(link(can_lose=True), True, 500, random.Random(1))}
    cards = deck(link(can_lose=True), True, wanted, random.Random(2))
    assert sum(card.times for card in cards) >= wanted
    assert {card.name for card in cards} == everything
    assert any("packets lost" in name for name in everything)
    assert any("clock" in name for name in everything)


def test_what_the_machine_does_not_permit_is_left_out() -> None:
    names = {card.name for card in deck(link(can_lose=False), False, 500, random.Random(1))}
    assert not any("packets lost" in name or "clock" in name for name in names)


def test_a_drain_measures_the_longest_time_without_a_new_record() -> None:
    looks = iter([0, 0, 0, 1, 2, 3])
    rig = cast(Rig, SimpleNamespace(tally=SimpleNamespace(look=lambda: next(looks))))
    campaign = Campaign(rig, [], Console(), 3)
    stall_s = campaign._drain(3, "test")
    assert stall_s >= 0.04  # two looks of 20 ms with nothing new


def test_a_stall_beyond_its_limit_is_late() -> None:
    kind = Kind(within_s=8.0, faults=3, stalls_s=[7.9, 8.1, 20.0])
    assert kind.late == 2


GOOD = {
    "lost": 0,
    "duplicated_before_reader": 284,  # which the reader is there for
    "duplicated_after_reader": 0,
    "numbers_reused": 0,
    "secrets_in_log": 0,
    "stalls_beyond_limit": 0,
    "kept_out": {"replayed_taken": 0, "altered_taken_whole": 0},
    "events": {"no_event": 0},
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"lost": 1},
        {"duplicated_after_reader": 1},
        {"numbers_reused": 1},
        {"secrets_in_log": 1},
        {"stalls_beyond_limit": 1},
        {"events": {"no_event": 1}},
        {"kept_out": {"replayed_taken": 1, "altered_taken_whole": 0}},
        {"kept_out": {"replayed_taken": 0, "altered_taken_whole": 1}},
    ],
)
def test_a_campaign_with_anything_wrong_has_not_passed(wrong: dict[str, object]) -> None:
    assert passed(GOOD)
    assert not passed({**GOOD, **wrong})


def test_what_a_log_tells_is_counted(tmp_path: Path) -> None:
    lines = [
        '{"at": 1, "event": "process_started", "process": "uplink", "pid": 2, "attempt": 1}',
        '{"at": 1, "event": "process_started", "process": "vision", "pid": 3, "attempt": 1}',
        *['{"at": 2, "event": "hub_stalled", "silent_s": 2}'] * 2,
        '{"at": 3, "event": "identify", "seconds": 10}',
        "Traceback (most recent call last):",
    ]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    counted = events(tmp_path / "log")
    told = {"hub_stalled": 2, "uplink_started": 1, "no_event": 1}
    assert counted == dict.fromkeys(COUNTED, 0) | told


def test_only_a_watchdog_s_time_is_allowed_for_what_hangs() -> None:
    limits = {card.name: card.within_s for card in deck(link(can_lose=True), True, 1, CHANCE)}
    hangs = ("black hole", "no acknowledgement", "dropped silently", "no answer", "frozen")
    for name, within_s in limits.items():
        hang = name.endswith(hangs) and "registration" not in name  # the SDK's own time
        assert within_s == (HANG_WITHIN_S if hang else PAUSES_WITHIN_S), name


def test_both_sdks_are_locked_and_differ() -> None:
    locked = (ROOT / "requirements" / f"sdk-{sdk.OTHER}.txt").read_text()
    assert f"azure-iot-device=={sdk.OTHER} " in locked
    assert f"azure-iot-device {sdk.OTHER}" not in sdk.version(sdk.interpreter(""))


def test_devices_that_lost_one_hub_come_back_spread(tmp_path: Path) -> None:
    figures = return_of_many(tmp_path)
    for away in figures.values():
        assert away["most_in_one_second"] <= 15
        assert away["all_back_after_s"] <= 600
        assert sum(away["back_in_each_minute"]) == 200
    assert max(figures["72 h"]["back_in_each_minute"]) <= 60
    svg = (tmp_path / "faults-return.svg").read_text()
    assert svg.count("<rect") >= 50
    assert return_of_many(tmp_path) == figures


def test_a_process_is_seen_and_one_that_is_gone_gives_zeros() -> None:
    own = Process(os.getpid())
    assert own.rss_mb > 10
    assert own.threads >= 1
    with subprocess.Popen(["sleep", "30"]) as child:
        assert 0 <= Process(child.pid).age_s < 30 < time.clock_gettime(time.CLOCK_BOOTTIME)
        Process(child.pid).kill()
    gone = Process(2**22 + 1)
    assert (gone.rss_mb, gone.threads, gone.age_s) == (0, 0, 0)
    assert not gone.words()
    assert not gone.children()
