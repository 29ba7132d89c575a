"""Visitors come, and their records arrive: from a virgin device on."""

from __future__ import annotations

import pytest

from hil.rigs import clips
from hil.rigs.strategy import SensorStrategy
from hil.scenarios.conftest import Note


def test_virgin_device_is_provisioned(rig: SensorStrategy, note: Note) -> None:
    """A board with nothing on it makes its key, gets its certificate and joins by itself."""
    rig.transition("flashed")
    note("image_mb", rig.board.image_mb())
    before = rig.cloud.hub.stats()["connects"]
    rig.transition("booted")
    assert rig.cloud.hub.stats()["connects"] == before, "it joins without an identity"
    rig.transition("counting")
    note("provisioning_s", round(rig.powered_s, 1))
    assert rig.device in [one["device"] for one in rig.cloud.hub.devices()]
    assert b"PRIVATE" not in b"".join(rig.installed.values()), "the key was made elsewhere"


def test_boot_to_first_record(rig: SensorStrategy, note: Note) -> None:
    """A device that is installed gets its power back, and somebody comes."""
    rig.transition("counting")
    before = len(rig.interactions())
    rig.cut_power()
    rig.camera.cue(clips.clip("stops")[1])
    rig.transition("counting")
    note("boot_to_counting_s", round(rig.powered_s, 1))
    rig.camera.begin()
    rig.arrived(before + 1)
    note("boot_to_first_record_s", round(rig.powered_s, 1))


def test_counting_is_accurate(rig: SensorStrategy, note: Note) -> None:
    """Every visitor of a scene arrives as one record, and nobody else."""
    rig.transition("counting")
    for name in ("side_by_side", "comes_back"):
        scene, counted = rig.count(name)
        note(f"counted {name}", f"{counted} of {scene.interactions}")
        assert counted == scene.interactions, name


@pytest.mark.needs("units")
def test_device_is_closed(rig: SensorStrategy, note: Note) -> None:
    """Nothing listens on it, and each process is in a sandbox that systemd rates."""
    rig.transition("counting")
    exposure = rig.board.exposure()
    note("exposure", ", ".join(f"{unit} {score:g}" for unit, score in exposure.items()))
    assert rig.board.listening() == []
    assert exposure["flow-vision"] <= 1.5
    assert exposure["flow-uplink"] <= 2.0
