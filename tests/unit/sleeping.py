"""A stand-in for `time` in a module that waits for frames."""

from __future__ import annotations


class SleepingClock:
    """Time that passes only when somebody sleeps, or is told to."""

    def __init__(self) -> None:
        self.now_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
