"""Totals of the vision process for its health message: scalars only, nothing about a visitor."""

from __future__ import annotations

import time
from collections import deque

from firmware.messages import VisionHealth

_LATEST = 512


class Tally:
    """Counts what vision does.

    Attributes:
        frames, interactions, camera_losses: totals since the process started.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.interactions = 0
        self.camera_losses = 0
        self._wipes = 0
        self._turn_us: deque[int] = deque(maxlen=_LATEST)
        self._turn_cpu_us: deque[int] = deque(maxlen=_LATEST)
        self._wipe_us: deque[int] = deque(maxlen=_LATEST)
        self._reported_frames = 0
        self._reported_at = time.monotonic()

    def turned(self, took_ns: int, cpu_ns: int) -> None:
        """A frame is done: how long it took, and how much of that this thread had the processor.
        What others do to the machine is in the first alone."""
        self.frames += 1
        self._turn_us.append(took_ns // 1000)
        self._turn_cpu_us.append(cpu_ns // 1000)

    def wiped(self, took_ns: int) -> None:
        self._wipes += 1
        self._wipe_us.append(took_ns // 1000)

    def due(self, every_s: float) -> bool:
        return time.monotonic() - self._reported_at >= every_s

    def report(self, visitors_now: int) -> VisionHealth:
        """Totals, the rate since the last report, and p95 of the latest turns and wipes."""
        now = time.monotonic()
        rate = (self.frames - self._reported_frames) / max(now - self._reported_at, 1e-3)
        self._reported_frames, self._reported_at = self.frames, now
        return VisionHealth(
            frames=self.frames,
            frames_per_s_x10=round(rate * 10),
            visitors_now=visitors_now,
            interactions=self.interactions,
            camera_losses=self.camera_losses,
            frame_ms_p95_x10=_p95(self._turn_us) // 100,
            frame_cpu_ms_p95_x10=_p95(self._turn_cpu_us) // 100,
            wipes=self._wipes,
            wipe_ms_p95_x10=_p95(self._wipe_us) // 100,
        )


def _p95(values: deque[int]) -> int:
    return sorted(values)[len(values) * 95 // 100] if values else 0
