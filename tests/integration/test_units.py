"""The systemd units: what each process may not. systemd's own verdict is in tests/image."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from firmware.supervisor import REBOOT_STATUS

UNITS = Path(__file__).parents[2] / "build_scripts" / "units"

PROCESSES = ("flow-vision@.service", "flow-uplink@.service", "flow-supervisor.service")


def unit(name: str) -> dict[str, list[str]]:
    """Settings of a unit's file; a key may stand there more than once."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("path", sorted(UNITS.iterdir()), ids=lambda path: path.name)
def test_unit_is_made_of_known_sections(path: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(path.read_text())
    assert set(parser.sections()) <= {"Unit", "Service", "Socket", "Install"}
    assert parser["Unit"]["Description"].startswith("FLOW sensor: ")


def test_vision_has_no_network_and_the_uplink_no_camera() -> None:
    vision, uplink = unit("flow-vision@.service"), unit("flow-uplink@.service")
    assert vision["PrivateNetwork"] == ["yes"]
    assert vision["RestrictAddressFamilies"] == ["none"]
    assert uplink["PrivateDevices"] == ["yes"] and "DeviceAllow" not in uplink
    assert vision["InaccessiblePaths"][0].split()[0] == "-/var/lib/flow-sensor"


@pytest.mark.parametrize("name", PROCESSES)
def test_no_core_no_swap_no_root(name: str) -> None:
    found = unit(name)
    assert found["LimitCORE"] == found["MemorySwapMax"] == ["0"]
    assert found["User"][0].startswith("flow-")
    assert found["CapabilityBoundingSet"] == [""]


def test_a_reboot_that_was_asked_for_and_nothing_else_reboots() -> None:
    found = unit("flow-supervisor.service")
    assert found["FailureAction"] == ["reboot"]
    assert found["Restart"] == ["always"]  # so that nothing else ends in failure, for which
    assert found["RestartMode"] == ["direct"]  # systemd 254 and newer take a pause before a restart
    assert found["RestartPreventExitStatus"] == [str(REBOOT_STATUS)]
