"""Who counts as a visitor, and how long its stay and its attention were."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from firmware.settings import Interactions as Rules
from firmware.vision import memory
from firmware.vision.interactions import Interactions, Stay
from firmware.vision.tracking import State, Track
from tests.unit.test_pose import turned

FRAME_NS = 40_000_000
START_NS = 5_000_000_000
RULES = Rules()

FACING, AWAY = turned(), turned(yaw=60)
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
ARROW = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0))
"""A polygon with a notch from below that reaches almost to the top."""


@pytest.fixture
def interactions() -> Iterator[Interactions]:
    yield Interactions(1280, 720)
    memory.release("interactions")


def visit(
    interactions: Interactions,
    *,
    frames: int = 26,
    height_px: float = 60,
    centre: tuple[float, float] = (0.25, 0.5),
    facing: int = 26,
    unseen: range = range(0),
    begin_ns: int = START_NS,
    rules: Rules = RULES,
) -> Stay | None:
    """One visitor in 1280 x 720 px for so many frames at 25 a second; `facing` of them turned to
    the sensor, the others away."""
    x, y = centre[0] * 1280, centre[1] * 720
    box = np.array([x - 20, y - height_px / 2, x + 20, y + height_px / 2], np.float32)
    track = Track(1, 0, START_NS, box, FACING)
    track.state = State.CONFIRMED
    for frame in range(frames):
        at_ns = begin_ns + frame * FRAME_NS
        if frame not in unseen:
            track.last_seen_ns = at_ns
            track.sightings += 1
            track.landmarks = FACING if frame < facing else AWAY
        interactions.observe([track], at_ns, rules)
    return interactions.close(track, rules)


def test_dwell_is_the_time_from_first_to_last_sighting(interactions: Interactions) -> None:
    assert visit(interactions) == Stay(START_NS, 1000, 1000)


def test_dwell_is_rounded_to_a_tenth_of_a_second(interactions: Interactions) -> None:
    stay = visit(interactions, frames=28)  # 1.08 s
    assert stay is not None and stay.dwell_ms == 1100


def test_an_occlusion_belongs_to_the_stay_and_time_after_the_last_sighting_does_not(
    interactions: Interactions,
) -> None:
    hidden = visit(interactions, unseen=range(10, 20))
    gone = visit(interactions, frames=40, unseen=range(26, 40))
    assert hidden is not None and hidden.dwell_ms == 1000
    assert gone is not None and gone.dwell_ms == 1000


def test_attention_is_the_time_turned_to_the_sensor(interactions: Interactions) -> None:
    stay = visit(interactions, facing=11)
    assert stay is not None and (stay.dwell_ms, stay.attention_ms) == (1000, 400)


@pytest.mark.parametrize(
    ("frames", "counts"),
    [(13, False), (14, True)],  # 0.48 s and 0.52 s
)
def test_a_stay_shorter_than_the_minimum_does_not_count(
    frames: int, counts: bool, interactions: Interactions
) -> None:
    assert (visit(interactions, frames=frames) is not None) is counts


@pytest.mark.parametrize(("height_px", "counts"), [(19, False), (60, True)])
def test_a_face_that_was_never_large_enough_does_not_count(
    height_px: int, counts: bool, interactions: Interactions
) -> None:
    rules = Rules(minimum_face_px=50)
    assert (visit(interactions, height_px=height_px, rules=rules) is not None) is counts


@pytest.mark.parametrize(
    ("zone", "centre", "counts"),
    [
        pytest.param((), (0.9, 0.9), True, id="no zone: everywhere"),
        pytest.param(LEFT_HALF, (0.25, 0.5), True, id="inside"),
        pytest.param(LEFT_HALF, (0.75, 0.5), False, id="outside"),
        pytest.param(ARROW, (0.5, 0.6), False, id="in the notch of a zone that is not convex"),
        pytest.param(ARROW, (0.1, 0.6), True, id="beside the notch"),
    ],
)
def test_only_time_in_the_zone_counts(
    zone: tuple[tuple[float, float], ...],
    centre: tuple[float, float],
    counts: bool,
    interactions: Interactions,
) -> None:
    assert (visit(interactions, centre=centre, rules=Rules(zone=zone)) is not None) is counts


def test_time_outside_the_zone_between_two_times_inside_does_not_count(
    interactions: Interactions,
) -> None:
    rules = Rules(zone=LEFT_HALF, minimum_dwell_s=0.0)
    track = Track(1, 0, START_NS, np.array([300, 300, 340, 350], np.float32), FACING)
    for frame in range(75):
        track.box[[0, 2]] = (900, 940) if 25 <= frame < 50 else (300, 340)
        track.last_seen_ns = START_NS + frame * FRAME_NS
        track.sightings += 1
        interactions.observe([track], track.last_seen_ns, rules)
    stay = interactions.close(track, rules)
    assert stay is not None and stay.dwell_ms == 1900  # 24 + 24 frame intervals of 40 ms


def test_nothing_of_a_tentative_track_goes_over_to_the_next_in_its_row(
    interactions: Interactions,
) -> None:
    first = visit(interactions, frames=500)
    second = visit(interactions, frames=26, begin_ns=START_NS + 500 * FRAME_NS)
    assert first is not None and second is not None and second.dwell_ms == 1000


def test_nothing_is_left_of_a_forgotten_visitor(interactions: Interactions) -> None:
    visit(interactions)
    interactions.forget(Track(1, 0, 0, np.zeros(4, np.float32), FACING))
    assert not dict(memory.buffers("interactions"))["interactions.counts"].any()
