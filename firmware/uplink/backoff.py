"""Pauses between attempts: they grow, and differ between devices, so that none stampedes."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff with full jitter.

    Args:
        first_s: mean of the first pause.
        most_s: mean of the longest pause.

    Every pause is drawn from 0 … twice the mean. Devices that lost one hub at one moment come
    back evenly spread (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self.failures = 0
        self._first_s = first_s
        self._most_s = most_s

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        mean_s = min(self._first_s * 2.0 ** min(self.failures, 32), self._most_s)
        self.failures += 1
        return random.uniform(0, 2 * mean_s)  # noqa: S311 - spreads load, no secret

    def succeeded(self) -> None:
        self.failures = 0
