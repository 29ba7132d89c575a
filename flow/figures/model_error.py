"""What the models get wrong: intervals that include it, and shares corrected for it.

A confusion table says how often visitors whose truth is i are estimated as j. With it, the share
that is observed can be turned into the one that is true ("quantification", Forman 2008): find
the true shares p with p · M ≈ observed, by expectation maximisation, which stays within 0 … 1.
The interval comes from draws: of the table (Dirichlet, for the table was itself measured on so many
pictures), of the observation (Dirichlet) and of the noise that protects groups.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from flow.figures.protection import NOISE_VARIANCE
from flow.models import Sensor

CARDS = Path(__file__).parent / "model_cards"
DRAWS = 200
ROUNDS = 40

WithInterval = tuple[float | None, float | None, float | None]
"""Share, low, high."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Shares:
    """Shares of categories among visitors whose category is known; (C,) each, summing to 1.

    Attributes:
        observed: as estimated by the sensor. corrected: with the model's error taken out.
        low, high: 95 % interval of the true share.
    """

    observed: Floats
    corrected: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Table:
    """A confusion table: counts (C, C), rows are the truth, columns the estimate."""

    source: str
    categories: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@lru_cache
def tables(model_set: str = "") -> dict[str, Table]:
    """The tables of a model set: attribute → table. An unknown set has the default's."""
    path = CARDS / f"{model_set}.json"
    card = json.loads((path if model_set and path.exists() else CARDS / "default.json").read_text())
    return {
        name: Table(
            tree["source"],
            tuple(tree["categories"]),
            tuple(tuple(row) for row in tree["counts"]),
        )
        for name, tree in card.items()
    }


def tables_at(sites: list[int]) -> dict[str, Table]:
    """The tables at these sites: of their models, when all run the same set."""
    sets = (
        Sensor.objects.filter(site__in=sites, retired=False)
        .exclude(model_set="")
        .order_by("model_set")
        .values_list("model_set", flat=True)
        .distinct()
    )
    found = list(sets[:2])
    return tables(found[0] if len(found) == 1 else "")


def by_word(
    words: Sequence[str], visitors: Any, table: Table, *, corrected: bool
) -> list[WithInterval]:
    """Share, low and high for each word; Nones where it is not known or not shown."""
    counts = np.maximum(np.asarray(visitors, np.float64), 0)
    place = {word: at for at, word in enumerate(table.categories)}
    estimate = shares(counts[[words.index(word) for word in table.categories]], table)
    chosen = estimate.corrected if corrected else estimate.observed
    return [
        (float(chosen[at]), float(estimate.low[at]), float(estimate.high[at]))
        if (at := place.get(word, -1)) >= 0 and count > 0
        else (None, None, None)
        for word, count in zip(words, counts, strict=True)
    ]


def shares(counts: Floats, table: Table) -> Shares:
    """Shares with intervals from published counts.

    Args:
        counts: (C,) visitors estimated as each category, in the table's order.
    """
    return _shares(tuple(counts.tolist()), table)


@lru_cache(maxsize=4096)
def _shares(published: tuple[float, ...], table: Table) -> Shares:
    counts = np.array(published)
    total = float(counts.sum())
    size = len(counts)
    if total <= 0:
        zero = np.zeros(size)
        return Shares(zero, zero, zero, np.ones(size))
    confusion = np.array(table.counts, np.float64)
    observed = counts / total
    corrected = _unfold(observed[None], (confusion / confusion.sum(1, keepdims=True))[None])[0]
    random = np.random.default_rng(7)  # the same question gets the same interval
    tables_ = random.standard_gamma(np.broadcast_to(confusion + 0.5, (DRAWS, size, size)))
    tables_ /= tables_.sum(2, keepdims=True)
    noisy = counts + random.normal(0, NOISE_VARIANCE**0.5, (DRAWS, size))
    drawn = random.standard_gamma(np.maximum(noisy, 0) + 0.5)
    drawn /= drawn.sum(1, keepdims=True)
    true = _unfold(drawn, tables_)
    low, high = np.percentile(true, [2.5, 97.5], axis=0)
    return Shares(observed, corrected, np.minimum(low, corrected), np.maximum(high, corrected))


def _unfold(observed: Floats, confusion: Floats) -> Floats:
    """(D, C) observed shares and (D, C, C) tables → (D, C) true shares."""
    true = observed.copy()
    for _ in range(ROUNDS):
        expected = (true[:, None] @ confusion)[:, 0]
        ratio = np.divide(observed, expected, out=np.zeros_like(observed), where=expected > 1e-12)
        true = true * (confusion @ ratio[..., None])[..., 0]
        true /= true.sum(1, keepdims=True)
    return true
