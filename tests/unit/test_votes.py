"""From sums of votes to words."""

from __future__ import annotations

import pytest

from firmware.record import AgeCategory, Confidence, Expression, Gender
from firmware.vision import votes


@pytest.mark.parametrize(
    ("female", "value", "confidence"),
    [
        (0.99, Gender.FEMALE, "high"),
        (0.01, Gender.MALE, "high"),
        (0.85, Gender.FEMALE, "medium"),
        (0.30, Gender.MALE, "low"),
        (0.55, Gender.UNKNOWN, "none"),
        (0.45, Gender.UNKNOWN, "none"),
    ],
)
def test_gender(female: float, value: Gender, confidence: Confidence) -> None:
    estimate = votes.gender(female)
    assert (estimate.value, estimate.confidence) == (value, confidence)


@pytest.mark.parametrize(
    ("years", "category"),
    [
        (0.0, AgeCategory.CHILD),
        (15.4, AgeCategory.CHILD),
        (15.6, AgeCategory.A16_24),
        (16.0, AgeCategory.A16_24),
        (24.4, AgeCategory.A16_24),
        (25.0, AgeCategory.A25_34),
        (44.0, AgeCategory.A35_44),
        (54.4, AgeCategory.A45_54),
        (64.0, AgeCategory.A55_64),
        (65.0, AgeCategory.A65_PLUS),
        (99.0, AgeCategory.A65_PLUS),
    ],
)
def test_age_categories_hold_their_ends(years: float, category: AgeCategory) -> None:
    assert votes.age(years, 0).category is category


@pytest.mark.parametrize(
    ("years", "variance", "confidence"),
    [
        pytest.param(5.0, 0.0, "high", id="far inside"),
        pytest.param(29.5, 0.0, "medium", id="in the middle of ten years, with 6 years of error"),
        pytest.param(25.0, 64.0, "low", id="at an edge, and the network doubts"),
    ],
)
def test_age_confidence_falls_towards_an_edge_and_with_doubt(
    years: float, variance: float, confidence: Confidence
) -> None:
    assert votes.age(years, variance).confidence == confidence


def test_shares_are_whole_percents_that_sum_to_100() -> None:
    estimate = votes.expression([1 / 3, 0, 0, 1 / 3, 1 / 3, 0, 0])
    assert sum(estimate.shares.values()) == 100
    assert set(estimate.shares) == {Expression.ANGRY, Expression.HAPPY, Expression.NEUTRAL}


def test_a_trace_of_an_expression_is_no_share() -> None:
    estimate = votes.expression([0.02, 0, 0, 0.95, 0.03, 0, 0])
    assert estimate.dominant is Expression.HAPPY
    assert estimate.shares == {Expression.HAPPY: 100}
    assert estimate.confidence == "high"


def test_a_divided_vote_has_low_confidence() -> None:
    assert votes.expression([1 / 7] * 7).confidence == "low"
