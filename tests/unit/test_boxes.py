"""Geometry of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.vision import boxes

UNIT = np.array([[0, 0, 10, 10]], np.float32)


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        pytest.param((0, 0, 10, 10), 1.0, id="the same box"),
        pytest.param((5, 0, 15, 10), 1 / 3, id="half beside"),
        pytest.param((10, 0, 20, 10), 0.0, id="only an edge in common"),
        pytest.param((30, 30, 40, 40), 0.0, id="far away, where both differences are negative"),
        pytest.param((2, 2, 4, 4), 0.04, id="one inside the other"),
        pytest.param((5, 5, 5, 5), 0.0, id="a box without area"),
    ],
)
def test_overlap_is_intersection_over_union(
    other: tuple[float, float, float, float], overlap: float
) -> None:
    assert boxes.overlaps(UNIT, np.array([other], np.float32))[0, 0] == pytest.approx(overlap)


def test_boxes_without_area_overlap_nothing() -> None:
    points = np.array([[5, 5, 5, 5]], np.float32)
    assert boxes.overlaps(points, points)[0, 0] == 0


def test_of_doubles_the_best_stays() -> None:
    best_first = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
    assert boxes.distinct(best_first, overlap=0.3, most=9) == [0, 2]


def test_a_suppressed_box_suppresses_none() -> None:
    # The middle one overlaps both others; they do not overlap each other.
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    assert boxes.distinct(chain, overlap=0.3, most=9) == [0, 2]


def test_no_more_boxes_than_asked_for() -> None:
    apart = np.array([[n * 20, 0, n * 20 + 10, 10] for n in range(5)], np.float32)
    assert boxes.distinct(apart, overlap=0.3, most=3) == [0, 1, 2]
