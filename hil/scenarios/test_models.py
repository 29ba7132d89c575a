"""Models come over the air by themselves."""

from __future__ import annotations

import pytest

from hil.rigs.strategy import SensorStrategy
from hil.scenarios.conftest import Note


@pytest.mark.needs("models")
def test_models_are_updated_alone(rig: SensorStrategy, note: Note) -> None:
    """A set that works is kept, one that does not load costs no visitor, and nothing is restarted
    for either; one in whose trial the plug is pulled is tried again."""
    rig.transition("counting")
    restarts = rig.health(lambda said: True, "it says how it is")["restarts"]
    good = rig.update("good models")
    rig.update_came_to("committed", good)
    assert rig.cloud.reported(rig.device)["models"] == good.version
    rig.update("models that do not load")
    rig.update_came_to("trial", rig.board.offers()["models that do not load"])
    assert rig.count("stops")[1] == 1
    said = rig.update_came_to("refused", rig.board.offers()["models that do not load"])
    assert "did not prove themselves" in said["error"]
    note("models", f"{good.version} kept; the next: {said['error']}")
    after = rig.health(lambda said: said["visitors_now"] == 0, "it says how it is")
    assert after["restarts"]["uplink"] == restarts["uplink"]
    better = rig.update("better models")
    rig.update_came_to("trial", better)
    rig.cut_power()
    rig.transition("counting")
    rig.update_came_to("committed", better)
    assert rig.cloud.reported(rig.device)["models"] == better.version
    assert rig.count("stops")[1] == 1
