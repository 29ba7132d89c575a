"""An attacker who may ask any two reports learns next to nothing about one visitor."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from django.conf import settings

from flow.figures import measure
from flow.figures.protection import ALPHA, EPSILON, WITHHELD, noise, published, published_mean

K = 5


def chances(count: int, total: int) -> dict[int, float]:
    """Published value → probability over all keys, from the rules in the module's docstring."""
    if total < 4 * K or count < K:
        return {WITHHELD: 1.0}
    found: dict[int, float] = defaultdict(float)
    for drawn in range(-80, 81):
        value = count + drawn
        chance = (1 - ALPHA) / (1 + ALPHA) * ALPHA ** abs(drawn)
        found[min(value, total) if value >= K else WITHHELD] += chance
    return found


def test_the_noise_is_the_two_sided_geometric_distribution() -> None:
    many = 200_000
    seen = Counter(noise((at + 0.5) / many) for at in range(many))
    for value in range(-8, 9):
        expected = (1 - ALPHA) / (1 + ALPHA) * ALPHA ** abs(value)
        assert seen[value] / many == pytest.approx(expected, abs=2e-5)


def test_published_values_follow_the_rules() -> None:
    many = 4_000
    for count, total in ((5, 20), (12, 40), (300, 900)):
        seen = Counter(published(count, total, ("key", at)) for at in range(many))
        expected = chances(count, total)
        assert set(seen) <= set(expected)
        for value, chance in expected.items():
            assert seen[value] / many == pytest.approx(chance, abs=0.035)


@pytest.mark.parametrize("total", [*range(41), 500])
def test_small_groups_are_never_shown(total: int) -> None:
    for count in range(min(K, total + 1)):
        for at in range(50):
            assert published(count, total, ("small", at)) == WITHHELD


def test_few_visitors_are_not_split_at_all() -> None:
    assert {published(count, 4 * K - 1, (count,)) for count in range(4 * K)} == {WITHHELD}


@pytest.mark.parametrize("more", [1, 2, 3, 4])
@pytest.mark.parametrize("total", [20, 24, 30, 60])
def test_no_two_reports_tell_whether_somebody_was_in_a_group(total: int, more: int) -> None:
    """The attacker knows both totals exactly, sees both published counts, and guesses how many of
    the `more` visitors between the reports belong to the group. Whatever is published, no answer
    becomes certain or impossible, and no single one gains more than the stated odds."""
    joint: dict[tuple[int, int], np.ndarray] = {}
    for group in range(total + 1):
        first = chances(group, total)
        for inside in range(more + 1):
            for b, chance_b in chances(group + inside, total + more).items():
                for a, chance_a in first.items():
                    held = joint.setdefault((a, b), np.zeros(more + 1))
                    held[inside] += chance_a * chance_b
    for seen in joint.values():
        posterior = seen / seen.sum()
        assert posterior.min() > 0.04
        assert posterior.max() < {1: 0.71, 2: 0.54, 3: 0.49, 4: 0.46}[more]
        odds = posterior[1:] / posterior[:-1]
        assert odds.max() <= math.exp(2 * EPSILON) and odds.min() >= math.exp(-2 * EPSILON)


def test_asking_again_gives_the_same_answer() -> None:
    assert len({published(57, 200, ("a", 1)) for _ in range(20)}) == 1
    assert len({published(57, 200, ("a", at)) for at in range(200)}) > 5


def test_one_more_visitor_draws_new_noise() -> None:
    """A live page must not show by the moment of a change which group the last visitor was in."""
    steps = [published(60, total, ("live",)) for total in range(200, 260)]
    assert len(set(steps)) > 5


def test_the_key_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [published(57, 200, (at,)) for at in range(40)]
    monkeypatch.setattr(settings, "SECRET_KEY", "another")
    assert [published(57, 200, (at,)) for at in range(40)] != before


def test_the_mean_of_a_group_moves_whether_or_not_the_visitor_was_in_it() -> None:
    means = [published_mean(500.0, 50, ("group", at)) for at in range(400)]
    assert np.std(means) > 1.0
    assert np.mean(means) == pytest.approx(10.0, abs=0.5)
    assert published_mean(500_000.0, 50_000, ("large",)) == pytest.approx(10.0, abs=0.05)


def test_means_of_groups_pass_through_the_protection() -> None:
    values = np.array([[40.0], [400.0], [80.0]])
    shown = measure._cells(np.array([41]), values, [("time", "group")])
    assert shown.dwell_s[0] != 10.0
    assert measure._cells(np.array([40]), values).dwell_s[0] == 10.0
