"""What is true of a scene: who must be seen, and how many interactions that makes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from firmware.settings import Settings
from hil.scenes.script import Script, Visitor
from hil.scenes.truth import Sample, stays

SCRIPT = Script(title="", seconds=10, interactions=0)
WIDTH = SCRIPT.camera.width_px


def sample(at_s: float, who: int = 0, **other: Any) -> Sample:
    plain = Sample(0, who, at_s, (600.0, 300.0, 660.0, 380.0), 1.0, 0.0, 2.5, 1.0, 1.0)
    return plain._replace(**other)


def seen(*spans: tuple[float, float], who: int = 0) -> list[Sample]:
    return [sample(tick / 10, who) for a, b in spans for tick in range(int(10 * a), int(10 * b))]


@pytest.mark.parametrize(
    ("change", "must", "may"),
    [
        ({}, True, True),
        ({"box": (0.0, 0.0, 39.0, 50.0)}, False, True),  # 13.6 px in a 448 px wide detector
        ({"box": (0.0, 0.0, 20.0, 25.0)}, False, False),
        ({"in_view": 0.5}, False, True),
        ({"in_view": 0.2}, False, False),
        ({"yaw_deg": -55.0}, False, True),
        ({"yaw_deg": 80.0}, False, False),
    ],
)
def test_small_hidden_and_turned_faces_are_not_demanded(
    change: dict[str, Any], must: bool, may: bool
) -> None:
    given = sample(0, **change)
    assert (given.must_be_seen(WIDTH), given.may_be_seen(WIDTH)) == (must, may)


@pytest.mark.parametrize(
    ("spans", "count", "why"),
    [
        ([(0, 2)], 1, "one stay"),
        ([(0, 2), (3, 5)], 1, "back within max_lost_s is the same"),
        ([(0, 2), (4, 6)], 2, "back after max_lost_s is a new one: nobody is remembered"),
        ([(0, 0.4)], 0, "shorter than minimum_dwell_s is none"),
        ([(0, 0.4), (0.9, 1.3)], 1, "two short glances with a short gap are one stay"),
        ([(0, 0.4), (3, 3.4)], 0, "two short glances far apart are none"),
    ],
)
def test_interactions(spans: list[tuple[float, float]], count: int, why: str) -> None:
    assert len(stays(seen(*spans), SCRIPT, Settings())) == count, why


def test_each_visitor_counts_apart() -> None:
    together = sorted(seen((0, 2)) + seen((1, 3), who=1), key=lambda s: s.at_s)
    assert [(stay.who, stay.from_s, stay.to_s) for stay in stays(together, SCRIPT, Settings())] == [
        (0, 0.0, 1.9),
        (1, 1.0, 2.9),
    ]


def test_the_rules_are_the_sensors_own() -> None:
    forgetful = msgspec.convert({"tracking": {"max_lost_s": 0.5}}, Settings)
    assert len(stays(seen((0, 2), (3, 5)), SCRIPT, forgetful)) == 2


def test_a_visitor_stands_for_a_person_not_for_a_portrait() -> None:
    path = ((0.0, 0.0, 2.0), (1.0, 0.0, 2.0))
    twins = [Visitor(portrait="obama", path=path), Visitor(portrait="obama", path=path)]
    assert twins[0] == twins[1]  # equal scripts
    both = seen((0, 1), who=0) + seen((0, 1), who=1)
    assert len(stays(both, SCRIPT, Settings())) == len(twins)
