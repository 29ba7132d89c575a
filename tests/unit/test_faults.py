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

from hil.faults.aftermath import return_of_many
from hil.faults.campaign import Campaign
from hil.faults.injections import deck
from hil.faults.link import Link
from hil.faults.processes import Process
from hil.faults.rig import Rig


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


def test_devices_that_lost_one_hub_come_back_spread(tmp_path: Path) -> None:
    figures = return_of_many(tmp_path)
    for away in figures.values():
        assert away["most_in_one_second"] <= 15
        assert away["all_back_after_s"] <= 600
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
