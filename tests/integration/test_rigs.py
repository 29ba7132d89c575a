"""The short form of `make hil`: the first scenarios on the rig of processes, and their report."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firmware.recipient import keygen
from hil import report
from hil.rigs.__main__ import main
from provisioning.authority import Authority
from provisioning.issued import Issued

WORDS = "virgin or first_record or crashes"
MOST_S = 280
"""Half a minute on an idle machine; how busy it is must not matter."""

pytestmark = pytest.mark.timeout(MOST_S + 20)


def test_rig_of_processes_brings_up_a_sensor_and_says_what_it_cannot_show() -> None:
    words = [sys.executable, "-m", "hil.rigs", "process", "-k", WORDS, "--report", "hil_short"]
    alone = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    if not subprocess.run(alone, capture_output=True, check=False).returncode:
        words += ["--beside", "first_record"]  # on a second rig, which only root can have
    done = subprocess.run(
        words, cwd=report.ROOT, capture_output=True, text=True, timeout=MOST_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((report.REPORTS / "hil_short.json").read_text())
    assert [(each["name"], each["passed"]) for each in written["scenarios"]] == [
        ("test_virgin_device_is_provisioned", True),
        ("test_boot_to_first_record", True),
    ]
    assert [each["name"] for each in written["not_applicable"]] == [
        "test_version_that_crashes_is_taken_back"
    ]
    assert "no RAUC" in written["not_applicable"][0]["why"]
    assert 0 < written["boot_to_first_record_s"] < 60
    junit = (report.REPORTS / "hil_short.xml").read_text("utf-8")
    assert junit.count("<testcase") == 3, "those of the second rig too"
    assert written["power_cuts"] is None, "nobody pulled a plug in the short form"
    page = Path(report.REPORTS / "hil_short.html").read_text("utf-8")
    assert "Passed: 2 scenarios" in page and "to be shown on another: version that crashes" in page
    assert page.count("<svg") == 4, "temperature, memory, latency, queue"


def test_a_run_that_is_stopped_leaves_neither_hub_nor_report() -> None:
    words: list[str | Path] = [sys.executable, "-m", "hil.rigs", "process", "-k", "virgin"]
    words += ["--report", "hil_stopped"]
    written = report.REPORTS / "hil_stopped.json"
    written.unlink(missing_ok=True)
    status, said = stopped(words)
    assert status and "stopped before its end" in said
    assert not written.exists()


def stopped(words: list[str | Path]) -> tuple[int, str]:
    """Stop a run on the rig of processes when its hub is there; → its status, and what it said."""
    with subprocess.Popen(words, cwd=report.ROOT, stderr=subprocess.PIPE, text=True) as run:
        trust = report.ROOT / "build" / "hil" / f"cloud-{run.pid}" / "hub" / "trust.pem"
        ends = time.monotonic() + MOST_S
        while not trust.exists() and time.monotonic() < ends:
            time.sleep(0.05)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text("ascii").split()
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=MOST_S)
    assert children, "there was no hub to be left behind"
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    return run.returncode, said


def test_a_second_rig_that_does_not_end_well_is_said_so(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["process", "-k", "crashes", "--beside", "no_such_scenario", "--report", "hil_alone"]
    assert main(words) == 1
    said = report.ROOT / "build" / "hil" / "hil_alone-beside" / "said.txt"
    assert f"no report of the second rig, see {said}" in capfd.readouterr().err
    assert re.search("no scenario has such a name|unshare|ip: not found", said.read_text("utf-8"))


def test_a_scenario_that_is_not_there_is_said_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["process", "-k", "no_such_scenario"]) != 0
    assert "no scenario has such a name" in capfd.readouterr().err


def factory(tmp_path: Path) -> list[str | Path]:
    """The words that make one unit."""
    site = tmp_path / "site.toml"
    site.write_text('[source]\nuri = "/dev/video0"\n', "utf-8")
    root = Authority.root("Factory root")
    root.batch("q1").save(tmp_path / "ca", "q1")
    _, public = keygen(tmp_path / "keys")
    words: list[str | Path] = [sys.executable, "-m", "hil.factory"]
    words += ["--rig", "process", "--ca", tmp_path / "ca"]
    words += ["--batch", "q1", "--first", "unit-01", "--settings", site, "--recipient", public]
    return [*words, "--notice", "https://flow.example/notice/k3vd", "--out", tmp_path / "units"]


def test_a_station_that_is_stopped_leaves_no_hub_and_makes_no_label(tmp_path: Path) -> None:
    status, _ = stopped(factory(tmp_path))
    assert status
    assert not (tmp_path / "units" / "unit-01.svg").exists()


def test_factory_makes_a_unit_with_its_record_and_its_label(tmp_path: Path) -> None:
    words = factory(tmp_path)
    done = subprocess.run(
        words, cwd=report.ROOT, capture_output=True, text=True, timeout=MOST_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "units" / "unit-01.json").read_text())
    assert (record["verdict"], record["why"]) == ("passed", "")
    assert record["health"]["selftest"] == "passed"
    assert record["certificate"]["serial"] in Issued(tmp_path / "ca").of("unit-01")[0].name
    assert (tmp_path / "units" / "unit-01.svg").exists()
