"""What the self-test costs: `python -m hil.selftest` → build/reports/selftest.json.

A real vision process on a clip of an empty scene is told to test itself again and again.
"""

from __future__ import annotations

import re
import socket
import tempfile
from pathlib import Path
from typing import TypeVar

from firmware import launcher, messages
from firmware.envelope import Suite
from firmware.recipient import PrivateKey
from hil import report
from hil.scenes.render import Scene
from hil.scenes.script import Camera, Script
from hil.scenes.source import write_video

RUNS = 20
EMPTY = Script(title="Nobody comes", seconds=3 * RUNS, interactions=0, camera=Camera())

M = TypeVar("M", bound=messages.Message)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "empty.mp4"
        write_video(Scene(EMPTY), clip)
        tests, resting_mb, peak_mb, left_mb = measure(clip)
    times = sorted(test.took_ms for test in tests)
    figures = {
        "runs": len(tests),
        "passed": sum(test.passed for test in tests),
        "hits": sum(test.hits for test in tests),
        "controls": min(test.controls for test in tests),
        "took_ms_median": times[len(times) // 2],
        "took_ms_p95": times[len(times) * 95 // 100],
        "resident_mb": resting_mb,
        "resident_mb_peak": peak_mb,
        "resident_mb_afterwards": left_mb,
    }
    for name, figure in figures.items():
        print(f"{name:<23} {figure:>7}")
    print(report.write("selftest", figures))


def measure(clip: Path) -> tuple[list[messages.SelfTested], float, float, float]:
    """What each test found, and resident MB: at rest after a first one, at most, in the end."""
    child = launcher.start("vision")
    channel = child.channel
    with channel:
        channel.settimeout(60)
        tree = {"source": {"uri": str(clip)}, "privacy": {"selftest_every_s": 0}}
        key = PrivateKey.generate(Suite.MLKEM768_X25519).public_bytes()
        messages.send(channel, messages.StartVision(tree, "bench-1", key))
        tests: list[messages.SelfTested] = []
        memory: list[float] = []
        for _ in range(RUNS):
            messages.send(channel, messages.SelfTest())
            tests.append(_next(channel, messages.SelfTested))
            _next(channel, messages.VisionHealth)  # a while later
            memory.append(_status_mb(child.process.pid, "VmRSS"))
        peak_mb = _status_mb(child.process.pid, "VmHWM")
        messages.send(channel, messages.Stop())
        child.process.wait(timeout=20)
    return tests, memory[0], peak_mb, memory[-1]


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
