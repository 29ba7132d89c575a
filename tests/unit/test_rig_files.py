"""Every rig file names parts that fit together, whether or not its hardware is here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from labgrid import Environment
from labgrid.binding import BindingState
from labgrid.driver import Driver

from firmware.errors import ConfigError
from hil.rigs import files
from hil.rigs.machine import QemuMachine

SCENARIOS = Path(files.__file__).parent.parent / "scenarios"
PARTS = ("power", "board", "camera", "network", "cloud")


@pytest.mark.parametrize("name", ["process", "virtual", "pi", "jetson"])
def test_rig_has_all_parts_and_reasons_for_what_it_cannot_do(name: str) -> None:
    target = Environment(str(files.rig(name))).get_target()
    strategy = target.get_driver("SensorStrategy", activate=False)
    assert all(getattr(strategy, part) is not None for part in PARTS)
    needed = {
        ability
        for path in SCENARIOS.glob("test_*.py")
        for ability in re.findall(r'needs\("(\w+)"\)', path.read_text("utf-8"))
    }
    assert set(strategy.cannot) <= needed, "a reason for an ability that no scenario asks for"
    assert all(len(reason) > 20 for reason in strategy.cannot.values())


def test_scenarios_do_not_know_their_rig() -> None:
    for path in SCENARIOS.glob("*.py"):
        words = path.read_text("utf-8").lower()
        assert not re.search(r"process\.yaml|qemu|virtual|raspberry|jetson", words), path


def test_unknown_rig_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="nowhere") as raised:
        files.rig("nowhere")
    assert "jetson, pi, process, virtual" in raised.value.remedy


class _Part(Driver):  # type: ignore[misc]
    bindings = {"machine": QemuMachine}  # noqa: RUF012 - labgrid reads it from the class


def test_a_shell_leaves_the_other_parts_of_a_machine_as_they_are() -> None:
    """Labgrid would start them anew, and the camera's scene with them."""
    target = Environment(str(files.rig("virtual"))).get_target()
    part = _Part(target, "part")
    target.activate(part)
    part.machine.resolve_conflicts(target.get_driver("ShellDriver", activate=False))
    assert part.state is BindingState.active
    target.deactivate(part.machine)
