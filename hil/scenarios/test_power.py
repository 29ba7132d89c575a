"""The plug is pulled while somebody stands before the sensor."""

from __future__ import annotations

import random
import re

import pytest

from hil.rigs import clips
from hil.rigs.canary import needles
from hil.rigs.strategy import SensorStrategy
from hil.scenarios.conftest import Note

_OWN = {"device.key", "hub.json", "numbers"}
"""What a device writes itself; each may have a half-written draft beside it."""


def test_power_is_cut_in_mid_interaction(
    rig: SensorStrategy, note: Note, request: pytest.FixtureRequest
) -> None:
    """The software is untouched, the partition holds what it should, no trace of who was in view,
    and no number is used again."""
    rig.transition("counting")
    cuts = request.config.getoption("cuts")
    moments = random.Random(request.config.getoption("seed"))
    _, clip = clips.clip("stops")
    canary = needles(clip)
    assert canary.search_bytes(clip.read_bytes()), "the search finds nothing at all"
    rig.cut_power()
    slots, identical, traces, in_view = rig.board.slots(), 0, 0, 0
    mark = int(rig.board.identity()["numbers"])
    for _ in range(cuts):
        before = rig.interactions()
        rig.camera.cue(clip)
        rig.transition("counting")
        rig.camera.begin()
        numbers = set(rig.arrived(len(before) + 1)) - set(before)
        assert min(numbers) > mark, "a number is used again"
        rig.camera.show(clip)
        rig.reach(moments.uniform(*clips.visible_s(clip)))
        in_view += rig.cloud.health(rig.device)[-1]["visitors_now"] > 0
        rig.cut_power()
        identical += rig.board.slots() == slots
        traces += rig.board.search(canary)
        partition = rig.board.identity()
        assert _unknown(partition, rig) == set(), "the partition holds something else"
        mark = int(partition["numbers"])
        assert max(numbers) <= mark, "a number was used before it was reserved"
    note("power_cuts", cuts)
    note("with somebody in view, as last said", in_view)
    note("roots_identical", identical)
    note("traces_on_disk", traces)
    note("numbers_reused", rig.cloud.reused())
    assert (identical, traces, rig.cloud.reused()) == (cuts, 0, 0)


def _unknown(partition: dict[str, bytes], rig: SensorStrategy) -> set[str]:
    """Files that are neither as they were installed nor the device's own, as they should be."""
    assert re.fullmatch(rb"[1-9]\d*\n", partition["numbers"])
    assert partition["device.key"].startswith(b"-----BEGIN PRIVATE KEY-----")
    drafts = {f"{name}.new" for name in _OWN}
    installed = {name for name, was in rig.installed.items() if partition.get(name) == was}
    return set(partition).difference(_OWN, drafts, installed, rig.board.makes)
