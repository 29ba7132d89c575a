"""The demo as a person runs it: hub, sensor and key's holder in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firmware.errors import CameraError
from hil import report
from hil.scenes.__main__ import main as scenes

PATIENCE_S = 100


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two visitors in six seconds."""
    path = tmp_path_factory.mktemp("clip") / "head_bob.mp4"
    assert scenes(["render", "head_bob", str(path)]) == 0
    return path


def demo(source: Path | str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hil.demo", "--source", str(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=report.ROOT,
        start_new_session=True,
    )


def children(of: subprocess.Popen[str]) -> list[str]:
    """Command lines of processes that work in this demo's folder."""
    mark = f"run-{of.pid}/".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if mark in words:
            found.append(words.decode().replace("\0", " "))
    return found


def test_every_visitor_of_a_clip_arrives_and_is_opened(clip: Path) -> None:
    running = demo(clip)
    out, err = running.communicate(timeout=PATIENCE_S)
    lines = out.splitlines()
    assert (running.returncode, lines[-1]) == (
        0,
        "demo: visitors=2 delivered=2 opened=2 duplicates=0",
    ), err
    assert sum(line.startswith("demo: record ") for line in lines) == 2
    written = json.loads((report.REPORTS / "demo_source.json").read_text())
    figures = {key: written[key] for key in ("visitors", "delivered", "opened", "duplicates")}
    assert figures == {"visitors": 2, "delivered": 2, "opened": 2, "duplicates": 0}
    assert written["seconds"] > 0
    assert not children(running)


def test_a_clip_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    running = demo(tmp_path / "nothing.mp4")
    out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == CameraError.exit_code
    assert "nothing.mp4 does not exist" in err
    assert "remedy:" in err
    assert out.splitlines()[-1] == "demo: visitors=0 delivered=0 opened=0 duplicates=0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_child_outlives_a_demo_that_is_stopped(clip: Path, number: signal.Signals) -> None:
    running = demo(clip)
    assert running.stdout
    for line in running.stdout:
        if "vision: ready" in line:
            break
    assert len(children(running)) >= 2  # the hub, and the sensor with its settings
    os.kill(running.pid, number)
    out, err = running.communicate(timeout=PATIENCE_S)
    until = time.monotonic() + 10
    while children(running) and time.monotonic() < until:
        time.sleep(0.1)
    assert not children(running)
    if number is signal.SIGINT:  # in order: what was seen so far is delivered
        assert running.returncode == 0, err
        assert out.splitlines()[-1].startswith("demo: visitors=")
    else:
        assert running.returncode == 128 + number
