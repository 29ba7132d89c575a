"""The cheapest pairing, held to trying every one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from firmware.vision import memory
from firmware.vision.assignment import Assignment

LIMIT = 6.0


@pytest.fixture
def assignment() -> Iterator[Assignment]:
    yield Assignment(8)
    memory.release("assignment")


def least(cost: NDArray[np.float32]) -> float:
    """The least total over all pairings, leaving a row alone for `LIMIT`."""
    rows, columns = cost.shape
    options = [*range(columns), *([-1] * rows)]
    return min(
        math.fsum(LIMIT if c < 0 else float(cost[row, c]) for row, c in enumerate(order))
        for order in set(itertools.permutations(options, rows))
    )


def total(pairs: list[tuple[int, int]], cost: NDArray[np.float32]) -> float:
    alone = len(cost) - len(pairs)
    return math.fsum(float(cost[pair]) for pair in pairs) + LIMIT * alone


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 3), (3, 2), (3, 3)])
def test_it_finds_the_least_total(shape: tuple[int, int], assignment: Assignment) -> None:
    random = np.random.default_rng(7)
    for _ in range(40):
        cost = (random.random(shape) * 16 - 4).astype(np.float32)
        pairs = assignment.pairs(cost, LIMIT)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
        assert total(pairs, cost) == pytest.approx(least(cost), abs=1e-4)


def test_the_nearest_pair_is_given_up_for_a_better_whole(assignment: Assignment) -> None:
    cost = np.array([[0.0, 1.0], [1.0, 5.0]], np.float32)
    assert sorted(assignment.pairs(cost, LIMIT)) == [(0, 1), (1, 0)]


def test_a_pair_at_the_limit_is_not_made(assignment: Assignment) -> None:
    assert assignment.pairs(np.array([[LIMIT]], np.float32), LIMIT) == []


def test_nothing_of_one_call_reaches_the_next(assignment: Assignment) -> None:
    assignment.pairs(np.full((8, 8), -3, np.float32), LIMIT)
    assert assignment.pairs(np.array([[2.0, 1.0]], np.float32), LIMIT) == [(0, 1)]
