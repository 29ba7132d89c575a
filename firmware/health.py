"""What the device says about itself: integers about the machine, nothing about a visitor."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from firmware import __version__, clock
from firmware.messages import Guarantee, UplinkHealth, VisionHealth

HEALTH_SCHEMA_VERSION = 1

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def resident_kb(pid: int) -> int:
    """Resident memory of a process in KiB; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KB
    except (OSError, IndexError, ValueError):
        return 0


def temperature_c(zones: Path = Path("/sys/class/thermal")) -> int | None:
    """The hottest thermal zone in °C; None where the machine has none."""
    found = []
    for zone in zones.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text()) // 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)


def throttled_percent(cpus: Path = Path("/sys/devices/system/cpu/cpufreq")) -> int:
    """By how many per cent the slowest-capped core is held below its maximum; 0: not at all."""
    worst = 0
    for policy in cpus.glob("policy*"):
        try:
            now = int((policy / "scaling_max_freq").read_text())
            full = int((policy / "cpuinfo_max_freq").read_text())
        except (OSError, ValueError):
            continue
        worst = max(worst, 100 - 100 * now // full) if full else worst
    return worst


class Health:
    """The latest word of each process and the supervisor's own counters."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.vision = VisionHealth()
        self.uplink = UplinkHealth()
        self.guarantees: tuple[Guarantee, ...] = ()
        self.model_set = ""
        self.restarts: dict[str, int] = {}
        self.clock_jumps = 0

    def record(
        self, *, waiting: int, delivered: int, dropped: int, pids: dict[str, int]
    ) -> dict[str, Any]:
        """The body of one health record."""
        vision, uplink = self.vision, self.uplink
        return {
            "schema": HEALTH_SCHEMA_VERSION,
            "at_utc_s": int(time.time()),
            "firmware": __version__,
            "model_set": self.model_set,
            "uptime_s": int(time.monotonic() - self.started),
            "frames_per_s_x10": vision.frames_per_s_x10,
            "frame_ms_p95_x10": vision.frame_ms_p95_x10,
            "frames": vision.frames,
            "interactions": vision.interactions,
            "camera_losses": vision.camera_losses,
            "wipes": vision.wipes,
            "wipe_ms_p95_x10": vision.wipe_ms_p95_x10,
            "selftest": vision.selftest,
            "selftest_hits": vision.selftest_hits,
            "guarantees_missing": [g.name for g in self.guarantees if not g.holds],
            "waiting": waiting,
            "delivered": delivered,
            "dropped": dropped,
            "sent_messages": uplink.sent_messages,
            "sent_bytes": uplink.sent_bytes,
            "reconnects": uplink.reconnects,
            "certificate_days": uplink.certificate_days,
            "uplink_fault": uplink.last_fault,
            "restarts": self.restarts,
            "resident_kb": {name: resident_kb(pid) for name, pid in pids.items()},
            "temperature_c": temperature_c(),
            "throttled_percent": throttled_percent(),
            "clock_synchronised": clock.synchronised(),
            "clock_jumps": self.clock_jumps,
        }
