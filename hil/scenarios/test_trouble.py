"""What happens to a sensor in the field: network, camera, clock, heat."""

from __future__ import annotations

import time

import pytest

from hil.rigs import clips
from hil.rigs.strategy import SensorStrategy
from hil.scenarios.conftest import Note

_WRONG_S = -400 * 86_400
"""A board without a clock of its own begins where its image was built, or in 1970."""


def test_network_is_lost_and_what_waited_is_delivered(rig: SensorStrategy, note: Note) -> None:
    """Visitors who come while the network is away arrive when it is back, each once."""
    rig.transition("counting")
    before = len(rig.interactions())
    rig.transition("offline")
    scene, clip = clips.clip("side_by_side")
    rig.camera.show(clip)
    rig.passed(scene.seconds)
    assert len(rig.interactions()) == before, "something came through a network that is away"
    back = time.monotonic()
    rig.transition("counting")
    arrived = rig.arrived(before + scene.interactions)
    note("drained_s", round(time.monotonic() - back, 1))
    assert len(arrived) == before + scene.interactions
    rig.health(lambda said: said["waiting"] == 0 and said["dropped"] == 0, "its outbox is empty")


@pytest.mark.needs("unplug")
def test_camera_is_unplugged(rig: SensorStrategy, note: Note) -> None:
    """Who was in view is counted, the device says what it lacks, and goes on when it is back."""
    rig.transition("counting")
    before = len(rig.interactions())
    scene, clip = clips.clip("stops")
    began, ended = clips.visible_s(clip)
    rig.camera.show(clip)
    rig.reach((began + ended) / 2)
    rig.camera.unplug()
    assert len(rig.arrived(before + 1)) == before + 1
    said = rig.health(lambda said: said["camera_losses"] == 1, "it misses its camera")
    assert said["restarts"] == {"vision": 0, "uplink": 0}
    rig.camera.plug()
    back = time.monotonic()
    frames = said["frames"]
    rig.health(lambda said: said["frames"] > frames, "it sees again")
    note("camera_back_s", round(time.monotonic() - back, 1))
    assert rig.count("stops") == (scene, 1)


@pytest.mark.needs("set_clock")
def test_clock_is_wrong_at_boot(rig: SensorStrategy, note: Note) -> None:
    """No record claims a time that is wrong; what follows when the clock is set is right."""
    rig.transition("counting")
    before = set(rig.interactions())
    rig.cut_power()
    rig.board.set_clock(_WRONG_S)
    try:
        rig.transition("provisioned")
        rig.camera.show(clips.clip("stops")[1])
        rig.passed(clips.clip("stops")[0].seconds)
        assert not rig.cloud.connected(rig.device), (
            "it takes a certificate from the future for good"
        )
    finally:
        rig.board.set_clock(0)
    set_at = time.monotonic()
    rig.transition("counting")
    note("connected_after_clock_s", round(time.monotonic() - set_at, 1))
    scene, counted = rig.count("stops")
    assert counted == scene.interactions
    fresh = [record for number, record in rig.interactions().items() if number not in before]
    trusted = [record for record in fresh if record.clock_synchronised]
    note("records", f"{len(trusted)} with a trusted time, {len(fresh) - len(trusted)} without")
    assert trusted, "it never trusts its clock"
    assert all(abs(record.start_utc_s - time.time()) < 300 for record in trusted)


@pytest.mark.needs("heat")
def test_board_is_throttled(rig: SensorStrategy, note: Note) -> None:
    """A hot board is slow, says so, counts right and loses nothing."""
    rig.transition("counting")
    cool = rig.health(lambda said: said["frame_ms_p95_x10"] > 0, "it says how fast it is")
    rig.board.heat(88, 60)
    try:
        hot = rig.health(lambda said: said["throttled_percent"] >= 50, "it says it is throttled")
        assert hot["temperature_c"] is not None
        scene, counted = rig.count("side_by_side")
        assert counted == scene.interactions
        slow = rig.health(lambda said: said["waiting"] == 0, "its outbox is empty")
    finally:
        rig.board.heat(45, 0)
    p95_ms = [said["frame_ms_p95_x10"] / 10 for said in (cool, slow)]
    note("frame_ms_p95 cool, hot", "{:.0f}, {:.0f}".format(*p95_ms))
    assert slow["restarts"] == cool["restarts"], "a slow process was taken for a dead one"
    rig.health(lambda said: said["throttled_percent"] == 0, "it is cool again")
