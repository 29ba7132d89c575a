"""The short form of `make hil`: the first scenarios on the rig of processes, and their report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hil import report

WORDS = "virgin or first_record or update"


def test_rig_of_processes_brings_up_a_sensor_and_says_what_it_cannot_show() -> None:
    words = [sys.executable, "-m", "hil.rigs", "process", "-k", WORDS, "--report", "hil_short"]
    done = subprocess.run(
        words, cwd=report.ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((report.REPORTS / "hil_short.json").read_text())
    assert [(each["name"], each["passed"]) for each in written["scenarios"]] == [
        ("test_virgin_device_is_provisioned", True),
        ("test_boot_to_first_record", True),
    ]
    assert [each["name"] for each in written["not_applicable"]] == ["test_update_and_rollback"]
    assert "no RAUC" in written["not_applicable"][0]["why"]
    assert 0 < written["boot_to_first_record_s"] < 60
    assert written["power_cuts"] is None, "nobody pulled a plug in the short form"
    page = Path(report.REPORTS / "hil_short.html").read_text("utf-8")
    assert "Passed: 2 scenarios" in page and "to be shown on another: update" in page
    assert page.count("<svg") == 4, "temperature, memory, latency, queue"
