from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hil.accuracy.detection import average_precision, matched, operating_point


@pytest.mark.parametrize(
    ("judgements", "count", "expected"),
    [
        ([(0.9, True), (0.8, True)], 2, 1.0),
        ([(0.9, True)], 2, 0.5),
        # wrong one first: precision 1/2 up to full recall
        ([(0.9, False), (0.8, True)], 1, 0.5),
        # precision 1, then 2/3: the better precision at higher recall counts for lower ones
        ([(0.9, True), (0.8, False), (0.7, True)], 2, 0.5 + 0.5 * 2 / 3),
        ([(0.9, False), (0.8, True), (0.7, True)], 2, 2 / 3),
        ([(0.8, True), (0.9, False)], 1, 0.5),
        ([(0.9, False)], 3, 0.0),
        ([], 3, 0.0),
        ([], 0, 0.0),
    ],
)
def test_average_precision(
    judgements: list[tuple[float, bool]], count: int, expected: float
) -> None:
    assert average_precision(judgements, count) == pytest.approx(expected)


def test_operating_point_counts_detections_from_the_score_on() -> None:
    judgements = [(0.9, True), (0.5, False), (0.49, True)]
    assert operating_point(judgements, 4, 0.5) == (0.5, 0.25)
    assert operating_point([], 0, 0.5) == (0.0, 0.0)


def judge(shared: list[list[float]], counted: list[bool]) -> list[bool]:
    faces: NDArray[np.float32] = np.array(shared, np.float32).reshape(len(shared), len(counted))
    scores = np.linspace(0.9, 0.5, len(shared)).astype(np.float32)
    return [right for _, right in matched(faces, scores, np.array(counted, bool))]


def test_a_face_is_found_once_and_its_double_is_wrong() -> None:
    assert judge([[0.8], [0.7]], [True]) == [True, False]


def test_a_detection_takes_its_best_face_that_is_free() -> None:
    assert judge([[0.6, 0.9], [0.7, 0.8]], [True, True]) == [True, True]


def test_a_detection_on_a_face_below_the_claimed_size_is_neither_right_nor_wrong() -> None:
    assert judge([[0.9], [0.3]], [False]) == [False]


def test_a_small_face_does_not_excuse_a_detection_that_lies_on_a_counted_one() -> None:
    assert judge([[0.6, 0.9]], [True, False]) == [True]


def test_everything_is_wrong_where_nobody_is() -> None:
    assert judge([[], []], []) == [False, False]
