"""What may be shown about groups, so that no report, and no two, single anybody out.

A *group* is defined by an attribute (gender, age, expression). Rules, with k = 5:

1. Totals - visitors of a site in a stretch of time, whatever they looked like - are exact. They say
   nothing about anybody.
2. Where fewer than 4k visitors came in all, nothing is split by attributes.
3. A group of fewer than k is never shown, and neither is one whose published count would be.
4. A group's published count is the true one plus noise: the two-sided geometric distribution with
   ε = 0.5 (Ghosh, Roughgarden, Sundararajan 2009), standard deviation 2.7. Two reports that
   differ by one visitor therefore never say which group that visitor was in: whatever is
   published, the odds between "in" and "not in" move by at most e^ε for each of them.
5. The noise is drawn by a keyed hash of what is asked (sites, days, hours, group) and of the exact
   total, not at random: the same question gets the same answer, so asking again and taking the
   mean gains nothing. Questions are put into one normal form first.

Shares and intervals are computed from published counts only. The mean stay of a group carries noise
too (Laplace, scale 60 s ÷ visitors ÷ ε): otherwise a mean that does not move would say that the one
visitor by whom two reports differ was not in the group.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from django.conf import settings

EPSILON = 0.5
ALPHA = math.exp(-EPSILON)
NOISE_VARIANCE = 2 * ALPHA / (1 - ALPHA) ** 2
WITHHELD = -1
STAY_S = 60.0
"""How much one visitor may add to a group's sum of stays; few stay longer."""


def noise(uniform: float) -> int:
    """A draw of the two-sided geometric distribution from one of U(0, 1)."""
    # P(X ≥ m) = α^m / (1 + α) for m ≥ 1, and the same for −m; zero takes what is left.
    sign, spread = (-1, uniform * 2) if uniform < 0.5 else (1, (1 - uniform) * 2)
    return sign * max(0, math.floor(math.log(max(spread, 1e-300) * (1 + ALPHA) / 2, ALPHA)))


def published(count: int, total: int, question: Sequence[Any]) -> int:
    """The count of a group that may be shown, or WITHHELD.

    Args:
        count: true number of visitors in the group.
        total: of all visitors in the same stretch, of which the group is a part.
        question: the normal form of what was asked; anything with a stable `repr`.
    """
    k = settings.K_ANONYMITY
    if total < 4 * k or count < k:
        return WITHHELD
    shown = count + noise(_uniform((*question, total)))
    return min(shown, total) if shown >= k else WITHHELD


def published_mean(total_s: float, count: int, question: Sequence[Any]) -> float:
    """The mean of `count` stays that may be shown with their group, in seconds.

    Args:
        question: as in `published`, with the name of what is measured.
    """
    uniform = _uniform(tuple(question)) - 0.5
    spread = STAY_S / count / EPSILON
    drawn = -math.copysign(spread, uniform) * math.log(1 - 2 * abs(uniform))
    return max(0.0, total_s / count + drawn)


def published_array(
    counts: np.ndarray[Any, Any], totals: np.ndarray[Any, Any], questions: Sequence[Sequence[Any]]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """`published` for each element."""
    return np.array(
        [
            published(round(count), round(total), question)
            for count, total, question in zip(counts, totals, questions, strict=True)
        ],
        np.int64,
    )


def _uniform(question: tuple[Any, ...]) -> float:
    key = hashlib.sha256(b"flow protection" + settings.SECRET_KEY.encode()).digest()
    digest = hmac.digest(key, repr(question).encode(), "sha256")
    return (int.from_bytes(digest[:7], "big") + 0.5) / 2**56
