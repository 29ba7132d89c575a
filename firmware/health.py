"""What the device says about itself: integers about the machine, nothing about a visitor."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from firmware import __version__, clock
from firmware.messages import Guarantee, SelfTested, UplinkHealth, VisionHealth

HEALTH_SCHEMA_VERSION = 1

_WORD, _ZONES = 64, 32  # what a health record takes (firmware/record.py)
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def resident_kb(pid: int) -> int:
    """Resident memory of a process in KiB; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KB
    except (OSError, IndexError, ValueError):
        return 0


def temperatures_c(zones: Path = Path("/sys/class/thermal")) -> dict[str, int]:
    """°C of each thermal zone by its name; of zones that share one, the hottest."""
    found: dict[str, int] = {}
    for zone in sorted(zones.glob("thermal_zone*")):
        try:
            name = (zone / "type").read_text().strip()[:_WORD]
            degrees = int((zone / "temp").read_text()) // 1000
        except (OSError, ValueError):
            continue
        if name in found or len(found) < _ZONES:
            found[name] = max(degrees, found.get(name, degrees))
    return found


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
        """Its totals go on when the process is replaced."""
        self._uplinks_before = UplinkHealth()
        self.guarantees: tuple[Guarantee, ...] = ()
        self.tested: SelfTested | None = None
        self.tested_at_utc_s = 0
        self.model_set = ""
        self.models = ""
        """Version of the set of models that vision looks with; "": the image's own."""
        self.restarts: dict[str, int] = {}
        self.recycled = 0  # visions that were replaced on purpose
        self.clock_jumps = 0

    @property
    def sight(self) -> dict[str, Any]:
        """What vision does at this moment."""
        return {
            "frames": self.vision.frames,
            "frames_per_s_x10": self.vision.frames_per_s_x10,
            "visitors_now": self.vision.visitors_now,
        }

    @property
    def good(self) -> bool:
        """Whether vision has shown that it works: frames come, every guarantee was tried and
        holds, and the self-test, where there was one, found nothing."""
        return (
            self.vision.frames > 0
            and all(guarantee.holds for guarantee in self.guarantees)
            and (self.tested is None or self.tested.passed)
        )

    def uplink_said(self, latest: UplinkHealth) -> None:
        """Add what the present uplink counted to what those before it did."""
        before = self._uplinks_before
        self.uplink = msgspec.structs.replace(
            latest,
            sent_messages=before.sent_messages + latest.sent_messages,
            sent_bytes=before.sent_bytes + latest.sent_bytes,
            connections=before.connections + latest.connections,
            last_fault=before.last_fault if latest.last_fault == "none" else latest.last_fault,
        )

    def uplink_replaced(self) -> None:
        """The present uplink is gone; the next one counts from zero."""
        self._uplinks_before = self.uplink

    def note(self, tested: SelfTested) -> None:
        """The self-test's figure stays until the next one, also when vision is replaced."""
        self.tested, self.tested_at_utc_s = tested, int(time.time())

    def record(
        self, *, waiting: int, delivered: int, dropped: int, paused: bool, pids: dict[str, int]
    ) -> dict[str, Any]:
        """The body of one health record."""
        vision, uplink, tested = self.vision, self.uplink, self.tested
        degrees, discipline = temperatures_c(), clock.discipline()
        return {
            "schema": HEALTH_SCHEMA_VERSION,
            "at_utc_s": int(time.time()),
            "firmware": __version__,
            "model_set": self.model_set,
            "uptime_s": int(time.monotonic() - self.started),
            "paused": paused,
            "frames_per_s_x10": vision.frames_per_s_x10,
            "frame_ms_p95_x10": vision.frame_ms_p95_x10,
            "frame_cpu_ms_p95_x10": vision.frame_cpu_ms_p95_x10,
            "frames": vision.frames,
            "visitors_now": vision.visitors_now,
            "interactions": vision.interactions,
            "camera_losses": vision.camera_losses,
            "wipes": vision.wipes,
            "wipe_ms_p95_x10": vision.wipe_ms_p95_x10,
            "selftest": "none" if tested is None else "passed" if tested.passed else "failed",
            "selftest_hits": tested.hits if tested else 0,
            "selftest_controls": tested.controls if tested else 0,
            "selftest_ms": tested.took_ms if tested else 0,
            "selftest_at_utc_s": self.tested_at_utc_s,
            "guarantees_missing": [g.name for g in self.guarantees if not g.holds],
            "waiting": waiting,
            "delivered": delivered,
            "dropped": dropped,
            "sent_messages": uplink.sent_messages,
            "sent_bytes": uplink.sent_bytes,
            "reconnects": max(uplink.connections - 1, 0),
            "certificate_days": uplink.certificate_days,
            "uplink_fault": uplink.last_fault,
            "restarts": self.restarts,
            "recycled": self.recycled,
            "resident_kb": {name: resident_kb(pid) for name, pid in pids.items()},
            "temperature_c": max(degrees.values(), default=None),
            "temperatures_c": degrees,
            "throttled_percent": throttled_percent(),
            "clock_synchronised": discipline.synchronised,
            "clock_offset_us": discipline.offset_us,
            "clock_error_ms": discipline.error_ms,
            "clock_jumps": self.clock_jumps,
        }
