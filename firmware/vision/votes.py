"""From sums of votes to words: gender, age category and expressions, each with a confidence.

The bounds of the confidence classes come from labelled faces (`python -m hil.accuracy`): an
estimate of class `high` was right about 19 times in 20 for gender and 2 in 3 for age categories.
"""

from __future__ import annotations

import math

from firmware.record import (
    AgeCategory,
    AgeEstimate,
    Confidence,
    Expression,
    ExpressionEstimate,
    Gender,
    GenderEstimate,
)

_CATEGORIES = (
    (AgeCategory.CHILD, 0.0),
    (AgeCategory.A16_24, 16.0),
    (AgeCategory.A25_34, 25.0),
    (AgeCategory.A35_44, 35.0),
    (AgeCategory.A45_54, 45.0),
    (AgeCategory.A55_64, 55.0),
    (AgeCategory.A65_PLUS, 65.0),
)
_AGE_ERROR_YEARS = 6.0
"""Error that remains when the network itself shows no doubt (root mean square, measured)."""
_EXPRESSIONS = tuple(shown for shown in Expression if shown is not Expression.UNKNOWN)
_LEAST_SHARE = 0.05


def gender(female: float) -> GenderEstimate:
    """From the mean probability of female; classes as measured on labelled faces."""
    sure = max(female, 1 - female)
    if sure < 0.6:
        return GenderEstimate()
    value = Gender.FEMALE if female > 0.5 else Gender.MALE
    return GenderEstimate(value, _class(sure, medium=0.8, high=0.97))


def age(years: float, variance: float) -> AgeEstimate:
    """From the mean age and the network's mean variance, in years and their square.

    The confidence follows the part of a normal distribution around the age that lies in the
    category: an estimate near a category's edge is worth less.
    """
    deviation = math.sqrt(variance + _AGE_ERROR_YEARS**2)
    category, low = next(each for each in reversed(_CATEGORIES) if round(years) >= each[1])
    high = next((edge for _, edge in _CATEGORIES if edge > low), math.inf)
    inside = _normal((high - years) / deviation) - (
        _normal((low - years) / deviation) if low else 0
    )
    return AgeEstimate(category, _class(inside, medium=0.4, high=0.6))


def expression(shares: list[float]) -> ExpressionEstimate:
    """From the mean probability of each expression, in the order of `Expression`."""
    kept: dict[Expression, float] = {
        shown: share
        for shown, share in zip(_EXPRESSIONS, shares, strict=True)
        if share >= _LEAST_SHARE
    }
    total = sum(kept.values())
    percents: dict[Expression, int] = {
        shown: int(100 * share / total) for shown, share in kept.items()
    }
    dominant = max(kept, key=lambda shown: kept[shown])
    percents[dominant] += 100 - sum(percents.values())
    return ExpressionEstimate(
        dominant, percents, _class(kept[dominant] / total, medium=0.5, high=0.75)
    )


def _class(sure: float, *, medium: float, high: float) -> Confidence:
    return "high" if sure >= high else "medium" if sure >= medium else "low"


def _normal(x: float) -> float:
    """Cumulative distribution of the standard normal."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
