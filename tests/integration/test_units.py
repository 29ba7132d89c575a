"""The systemd units: they parse, and what systemd itself says about their sandboxes."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from firmware.supervisor import REBOOT_STATUS

UNITS = Path(__file__).parents[2] / "build_scripts" / "units"

# systemd-analyze's exposure levels (0 safe … 10 none); vision's and the uplink's are promised
EXPOSURE_MOST = {
    "flow-vision@.service": 1.5,
    "flow-uplink@.service": 2.0,
    "flow-supervisor.service": 1.5,
}


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


@pytest.mark.parametrize("name", EXPOSURE_MOST)
def test_exposure_that_systemd_sees_is_within_its_promise(name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "apt install systemd"
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(UNITS / name)],
        capture_output=True,
        text=True,
        check=True,
    )
    level = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert level and float(level[1]) <= EXPOSURE_MOST[name]
    assert "ignoring" not in done.stderr


def test_a_reboot_that_was_asked_for_and_nothing_else_reboots() -> None:
    found = unit("flow-supervisor.service")
    assert found["FailureAction"] == ["reboot"]
    assert found["Restart"] == ["always"]  # so that nothing else ends in failure
    assert found["RestartPreventExitStatus"] == [str(REBOOT_STATUS)]


def test_vision_has_no_network_and_the_uplink_no_camera() -> None:
    vision, uplink = unit("flow-vision@.service"), unit("flow-uplink@.service")
    assert vision["PrivateNetwork"] == ["yes"]
    assert vision["RestrictAddressFamilies"] == ["none"]
    assert uplink["PrivateDevices"] == ["yes"] and "DeviceAllow" not in uplink
    assert vision["InaccessiblePaths"][0].split()[0] == "-/var/lib/flow-sensor"


@pytest.mark.parametrize("name", EXPOSURE_MOST)
def test_no_core_no_swap_no_root(name: str) -> None:
    found = unit(name)
    assert found["LimitCORE"] == found["MemorySwapMax"] == ["0"]
    assert found["User"][0].startswith("flow-")
    assert found["CapabilityBoundingSet"] == [""]
