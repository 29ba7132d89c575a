"""A new version comes over the air, good and bad."""

from __future__ import annotations

import pytest

from hil.rigs.strategy import SensorStrategy
from hil.scenarios.conftest import Note

pytestmark = pytest.mark.needs("update")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("of a stranger", "signature"),
        ("altered", "altered"),
        ("of another board", "another board"),
        ("too old", "not newer"),
        ("too old, called new", "not newer"),
    ],
)
def test_update_is_refused(rig: SensorStrategy, note: Note, name: str, why: str) -> None:
    """What is not genuine, not for this board or not newer is refused, with the reason, and the
    device goes on counting."""
    rig.transition("counting")
    image = rig.image()
    said = rig.update_came_to("refused", rig.update(name))
    assert why in said["error"]
    frames = rig.health(lambda said: True, "it goes on")["frames"]
    rig.health(lambda said: said["frames"] > frames, "it goes on looking")
    assert rig.image() == image
    note("refused", said["error"])


def test_update_survives_a_power_cut_and_is_kept(rig: SensorStrategy, note: Note) -> None:
    """The plug is pulled while a good version is installed: the old one starts and asks for the new
    one again, which proves itself and is kept."""
    rig.transition("counting")
    image, before = rig.image(), rig.interactions()
    offer = rig.update("good")
    rig.update_came_to("installing", offer)
    rig.cut_power()
    rig.transition("provisioned")
    rig.health(lambda said: True, "it speaks again")
    assert rig.image() == image, "it started what was half installed"
    rig.update_came_to("committed", offer)
    assert rig.image() == offer.version
    note("version", f"{image} → {offer.version}")
    rig.transition("counting")
    assert rig.count("stops")[1] == 1
    assert min(set(rig.interactions()) - set(before)) > max(before, default=0)


def test_version_that_crashes_is_taken_back(rig: SensorStrategy, note: Note) -> None:
    """A version that ends as soon as it starts is given up for the one before it, is not started
    again although it is still asked for, and the device counts."""
    rig.transition("counting")
    image, before = rig.image(), rig.interactions()
    offer = rig.update("crashing")
    rig.update_came_to("restarting", offer)
    said = rig.update_came_to("refused", offer)
    assert "did not prove itself" in said["error"]
    assert rig.image() == image
    note("version", f"{image}, not {offer.version}")
    assert rig.count("stops")[1] == 1
    assert min(set(rig.interactions()) - set(before)) > max(before, default=0)
