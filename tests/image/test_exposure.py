"""What systemd says about the sandboxes of the units."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "build_scripts" / "units"

NEWER = ("'RestartMode'",)
"""Keys that the image's systemd (257) knows, and that of an older machine passes over."""

# systemd-analyze's exposure levels (0 safe … 10 none); vision's and the uplink's are promised
EXPOSURE_MOST = {
    "flow-vision@.service": 1.5,
    "flow-uplink@.service": 2.0,
    "flow-supervisor.service": 1.5,
}


@pytest.mark.parametrize("name", EXPOSURE_MOST)
def test_exposure_that_systemd_sees_is_within_its_promise(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / name)],
        capture_output=True,
        text=True,
        check=True,
    )
    level = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert level and float(level[1]) <= EXPOSURE_MOST[name]
    ignored = [line for line in done.stderr.splitlines() if "ignoring" in line]
    assert not [line for line in ignored if not any(key in line for key in NEWER)]
