"""The whole sensor as it is delivered: three processes, a hub, and what they cost."""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from firmware.health import resident_kb
from hil.demo import pilot, player
from hil.local_hub import Event, running

_LIMIT_S = 120.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Costs(NamedTuple):
    """What one run of the sensor over a clip cost.

    Attributes:
        rss_mb: process → most resident memory, MiB.
        vision_ready_s: from the command to vision's first word that it works.
        first_record_s: from the command to the first sealed record in the hub.
        vision_cpu: seconds of processor time for each second that vision watched.
    """

    rss_mb: dict[str, float]
    vision_ready_s: float
    first_record_s: float | None
    vision_cpu: float


def run(folder: Path, clip: Path) -> Costs:
    """Provision a sensor, let it play the clip at its own pace, and watch its processes.

    Raises:
        SensorError: hub or sensor do not start.
    """
    folder.mkdir(parents=True)
    host = pilot.loopback()
    heard: queue.Queue[Event | dict[str, Any] | None] = queue.Queue()
    first: list[float] = []
    with running(Path(os.path.relpath(folder / "hub")), host) as hub:
        made = pilot.make(folder, hub, host, source=str(clip))
        threading.Thread(target=_await_record, args=(hub.capture, first), daemon=True).start()
        began = time.monotonic()
        with player.sensor(made.settings) as sensor:
            threading.Thread(target=sensor.read_log, args=(heard,), daemon=True).start()
            pids = {"supervisor": sensor.process.pid}
            most: dict[str, int] = {}
            ready_s = cpu_s = watched_s = 0.0
            while time.monotonic() - began < _LIMIT_S:
                event = _next(heard)
                if event is None:
                    break
                if event.get("event") == "process_started":
                    pids[event["process"]] = event["pid"]
                if event.get("event") == "vision_ready":
                    ready_s, cpu_s = time.monotonic() - began, _processor_s(pids["vision"])
                for name, pid in pids.items():
                    most[name] = max(most.get(name, 0), resident_kb(pid))
                if ready_s and (now := _processor_s(pids["vision"])):
                    watched_s, used_s = time.monotonic() - began - ready_s, now - cpu_s
    return Costs(
        rss_mb={name: round(kb / 1024, 1) for name, kb in most.items()},
        vision_ready_s=ready_s,
        first_record_s=first[0] - began if first else None,
        vision_cpu=used_s / watched_s if watched_s else 0.0,
    )


def _next(heard: queue.Queue[Event | dict[str, Any] | None]) -> dict[str, Any] | None:
    try:
        event = heard.get(timeout=0.1)
    except queue.Empty:
        return {}
    return event if isinstance(event, dict) else None


def _await_record(capture: Path, arrived: list[float]) -> None:
    """Note when the first message with interactions stands in the hub's capture."""
    until = time.monotonic() + _LIMIT_S
    while time.monotonic() < until:
        if capture.exists() and b'"kind":"records"' in capture.read_bytes():
            arrived.append(time.monotonic())
            return
        time.sleep(0.02)


def _processor_s(pid: int) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
