"""Time limits for calls that may never return, kept by another thread than theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Watch:
    """Since when one call is under way and when it should have ended.

    The calling thread enters and leaves `over`; the watching thread reads `overdue_s`. The SDK
    can hang in ways that no exception tells of, so nothing of it takes part.
    """

    def __init__(self) -> None:
        self._call: tuple[float, float] | None = None

    @contextmanager
    def over(self, limit_s: float) -> Iterator[None]:
        """The calls of this block together should take at most so long. An inner block's limit
        replaces the outer one's until the inner block ends."""
        outer = self._call
        self._call = (time.monotonic(), limit_s)
        try:
            yield
        finally:
            self._call = outer and (time.monotonic(), outer[1])

    @property
    def overdue_s(self) -> float:
        """Seconds since the call began, when that is beyond its limit; else 0."""
        call = self._call
        if call is None:
            return 0.0
        elapsed = time.monotonic() - call[0]
        return elapsed if elapsed > call[1] else 0.0
