"""Processes of the sensor under test, seen through /proc."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from firmware.health import resident_kb

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One process; reading of one that is gone gives zeros."""

    pid: int

    def children(self) -> list[Process]:
        try:
            listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii")
        except OSError:
            return []
        return [Process(int(pid)) for pid in listed.split()]

    def words(self) -> list[str]:
        """Its command line."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_text("utf-8").split("\0")
        except OSError:
            return []

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """It stays there and does nothing any more."""
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    @property
    def rss_mb(self) -> float:
        return round(resident_kb(self.pid) / 1024, 1)

    @property
    def threads(self) -> int:
        try:
            return len(os.listdir(f"/proc/{self.pid}/task"))  # noqa: PTH208 - names are enough
        except OSError:
            return 0

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICKS
