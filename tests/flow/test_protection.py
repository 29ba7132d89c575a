"""An attacker who may ask any two reports learns next to nothing about one visitor."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import date

import numpy as np
import pytest
from django.conf import settings

from flow.figures import measure, protection
from flow.figures.overview import overview
from flow.figures.protection import ALPHA, EPSILON, WITHHELD, noise, published, published_mean
from flow.figures.question import ask
from flow.figures.report import report
from flow.models import Cube, Site
from tests.flow.visits import put

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


TARGET_HOUR, OTHER_HOUR = 10, 15


def women(site: Site, path: str, hours: str) -> float:
    """How many women one report of that day says there were, read off one of three places."""
    query = {"period": "custom", "from": "2026-05-20", "to": "2026-05-20", "hour": hours}
    if path == "filter":
        value = overview(ask({**query, "gender": "female"}, [site])).tiles[0].value
        assert value is not None
        return value
    question = ask(query, [site])
    if path == "panel":
        panel = next(panel for panel in overview(question).panels if panel.name == "gender")
        return next(row.visitors for row in panel.rows if row.word == "female")
    lines = report(question, "gender", "none").lines
    return next(line.visitors for line in lines if line.label == "Women")


@pytest.mark.parametrize("path", ["filter", "panel", "table"])
@pytest.mark.parametrize("protected", [True, False])
def test_an_attacker_with_two_reports_guesses_no_better_than_the_odds(
    path: str, protected: bool, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the real pages: was the one visitor at ten o'clock a woman? The attacker knows all
    others, sees both reports, and takes the likelier answer. Without the noise the same attacker
    is always right, so the attack is a real one."""
    if not protected:
        monkeypatch.setattr(protection, "noise", lambda uniform: 0)
    right = 0
    keys = 120 if protected else 8
    for at in range(keys):
        woman = at % 2 == 0
        Cube.objects.all().delete()
        put(site, date(2026, 5, 20), OTHER_HOUR, women=30, men=30)
        put(site, date(2026, 5, 20), TARGET_HOUR, women=int(woman), men=int(not woman))
        monkeypatch.setattr(settings, "SECRET_KEY", f"secret {at}")
        less = women(site, path, f"{OTHER_HOUR}")
        more = women(site, path, f"{TARGET_HOUR},{OTHER_HOUR}")
        right += (more - less >= 1) == woman
    if protected:
        # The odds of the likelier answer are at most e^(2ε) : 1.
        assert right / keys <= math.exp(2 * EPSILON) / (1 + math.exp(2 * EPSILON))
    else:
        assert right == keys


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
