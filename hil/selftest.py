"""What the self-test costs: `python -m hil.selftest` → build/reports/selftest.json.

A real vision process on a clip of an empty scene is told to test itself again and again.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple, TypeVar

from firmware import launcher, messages
from firmware.envelope import Suite
from firmware.recipient import PrivateKey
from hil import report
from hil.scenes.render import Scene
from hil.scenes.script import Camera, Script
from hil.scenes.source import write_video

RUNS = 21
EMPTY = Script(title="Nobody comes", seconds=3 * RUNS, interactions=0, camera=Camera())

M = TypeVar("M", bound=messages.Message)


class Cost(NamedTuple):
    """One test: what it found, its processor time, and resident memory after it."""

    tested: messages.SelfTested
    processor_ms: int
    resident_mb: float


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "empty.mp4"
        write_video(Scene(EMPTY), clip)
        costs, peak_mb = measure(clip)
    tests = [cost.tested for cost in costs]
    figures = {
        "runs": len(tests),
        "passed": sum(test.passed for test in tests),
        "hits": sum(test.hits for test in tests),
        "controls": min(test.controls for test in tests),
        "processor_ms_median": statistics.median_high(cost.processor_ms for cost in costs),
        "took_ms_least": min(test.took_ms for test in tests),
        "took_ms_median": statistics.median_high(test.took_ms for test in tests),
        "resident_mb": costs[0].resident_mb,
        "resident_mb_peak": peak_mb,
        "resident_mb_afterwards": costs[-1].resident_mb,
    }
    for name, figure in figures.items():
        print(f"{name:<23} {figure:>7}")
    print(report.write("selftest", figures))


def measure(clip: Path) -> tuple[list[Cost], float]:
    """Each test's cost, and how much memory was resident at most, MB."""
    child = launcher.start("vision")
    channel, pid = child.channel, child.process.pid
    with channel:
        channel.settimeout(60)
        tree = {"source": {"uri": str(clip)}, "privacy": {"selftest_every_s": 0}}
        key = PrivateKey.generate(Suite.MLKEM768_X25519).public_bytes()
        messages.send(channel, messages.StartVision(tree, "bench-1", key))
        costs: list[Cost] = []
        for _ in range(RUNS):
            before_ms = _processor_ms(pid)
            messages.send(channel, messages.SelfTest())
            tested = _next(channel, messages.SelfTested)
            took_ms = _processor_ms(pid) - before_ms
            _next(channel, messages.VisionHealth)  # a while later
            costs.append(Cost(tested, took_ms, _status_mb(pid, "VmRSS")))
        peak_mb = _status_mb(pid, "VmHWM")
        messages.send(channel, messages.Stop())
        child.process.wait(timeout=20)
    return costs[1:], peak_mb  # the first one's time includes the start


def _processor_ms(pid: int) -> int:
    """User and system time of a process so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


def _status_mb(pid: int, key: str) -> float:
    found = re.search(rf"{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return round(int(found[1]) / 1024, 1)


def _next(channel: socket.socket, kind: type[M]) -> M:
    while message := messages.receive(channel):
        if isinstance(message, kind):
            return message
    raise SystemExit(f"vision ended without a {kind.__name__}")


if __name__ == "__main__":
    main()
