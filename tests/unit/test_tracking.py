"""Who is who from frame to frame, on boxes alone: the detector's part is played by geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from firmware.settings import Tracking
from firmware.vision import memory
from firmware.vision.detection import Detections
from firmware.vision.tracking import MOST_TRACKS, State, Track, Tracker

RULES = Tracking()
FACE_M = 0.22
PX_PER_M = 200.0

Path = Callable[[float], tuple[float, float] | None]
"""Seconds → centre of a face in metres, or None while it cannot be seen."""


class Sight(NamedTuple):
    """What the tracker made of one frame: the track on each visitor, None where there is none."""

    at_s: float
    who: tuple[int | None, ...]


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    yield Tracker()
    memory.release("tracker")
    memory.release("assignment")


def faces(
    *centres: tuple[float, float], score: float = 0.9, height_m: float = FACE_M
) -> Detections:
    """Detections of faces at these places (metres), all with one score."""
    x, y = np.array(centres, np.float32).reshape(-1, 2).T * PX_PER_M
    half = height_m * PX_PER_M / 2
    boxes = np.stack([x - 0.8 * half, y - half, x + 0.8 * half, y + half], axis=1)
    landmarks = np.repeat(boxes.reshape(-1, 2, 2)[:, :1], 5, axis=1)
    return Detections(
        boxes.astype(np.float32),
        landmarks.astype(np.float32),
        np.full(len(boxes), score, np.float32),
    )


def follow(
    tracker: Tracker,
    *paths: Path,
    seconds: float,
    frames_per_s: float = 25,
    scores: Callable[[float], float] = lambda at_s: 0.9,
) -> tuple[list[Sight], list[Track]]:
    """Play visitors past the tracker; a metre to the right is 200 px. Returns what it saw in each
    frame, and every confirmed track, ended or not."""
    random = np.random.default_rng(3)
    sights: list[Sight] = []
    ended: list[Track] = []
    for frame in range(round(seconds * frames_per_s)):
        at_s = frame / frames_per_s
        places = [path(at_s) for path in paths]
        seen = [place for place in places if place is not None]
        detections = faces(*seen, score=scores(at_s))
        jitter = random.normal(0, 0.03 * FACE_M * PX_PER_M, detections.boxes_xyxy.shape)
        detections.boxes_xyxy[:] += jitter.astype(np.float32)
        for track in tracker.update(detections, 1 + round(at_s * 1e9), RULES):
            ended.append(track)
            tracker.forget(track)
        sights.append(Sight(at_s, tuple(_on(tracker, place, seen) for place in places)))
    return sights, ended + tracker.reset()


def _on(
    tracker: Tracker, place: tuple[float, float] | None, others: list[tuple[float, float]]
) -> int | None:
    """The track on a visitor, unless somebody else is so near that nobody could say."""
    if place is None or sum(np.hypot(*np.subtract(place, other)) < FACE_M for other in others) > 1:
        return None
    for track in tracker.tracks:
        centre = (track.box[:2] + track.box[2:]) / 2 / PX_PER_M
        if track.state is State.CONFIRMED and np.hypot(*(centre - place)) < FACE_M / 2:
            return track.track_id
    return None


def walk(
    start: tuple[float, float], speed: tuple[float, float], *unseen: tuple[float, float]
) -> Path:
    """Straight on; not to be seen during the intervals `unseen` (seconds)."""

    def path(at_s: float) -> tuple[float, float] | None:
        if any(begin <= at_s < end for begin, end in unseen):
            return None
        return start[0] + speed[0] * at_s, start[1] + speed[1] * at_s

    return path


def bobbing(at_s: float) -> tuple[float, float]:
    """A walk with the head going up and down two centimetres, twice a second."""
    return 0.5 + 1.2 * at_s, 1.5 + 0.04 * float(np.sin(4 * np.pi * at_s))


def turning(at_s: float) -> tuple[float, float]:
    """There, turning round within half a second at 5 m/s², and back."""
    turned_s = min(max(at_s - 1.75, 0.0), 0.5)
    way_s = min(at_s, 1.75) + turned_s - 2 * turned_s**2 - max(at_s - 2.25, 0.0)
    return 0.5 + 1.3 * way_s, 1.5


CASES = {
    # Two faces on one level meet, and each goes on: their velocities tell them apart.
    "crossing": ((walk((0.5, 1.5), (1.2, 0)), walk((5.3, 1.55), (-1.2, 0))), 4.0, 25, 2),
    # The one behind is hidden while they pass, as the detector gives one box for the two.
    "crossing, one hidden": (
        (walk((0.5, 1.5), (1.2, 0)), walk((5.3, 1.55), (-1.2, 0), (1.85, 2.15))),
        4.0,
        25,
        2,
    ),
    # A pillar 1.2 m wide at 1.2 m/s.
    "occlusion": ((walk((0.5, 1.5), (1.2, 0), (1.5, 2.5)),), 4.0, 25, 1),
    "a blink of the detector": ((walk((0.5, 1.5), (1.2, 0), (1.0, 1.04)),), 3.0, 25, 1),
    # 0.36 of a face's height from frame to frame, nothing known about the speed at first.
    "2 m/s": ((walk((0.0, 1.5), (2.0, 0)),), 3.0, 25, 1),
    "2 m/s at 10 frames a second": ((walk((0.0, 1.5), (2.0, 0)),), 3.0, 10, 1),
    "back within the lost time": ((walk((1.0, 1.5), (0, 0), (1.0, 2.2)),), 4.0, 25, 1),
    # Nobody is known again: who was away for longer is a new visitor.
    "back too late": ((walk((1.0, 1.5), (0, 0), (1.0, 3.5)),), 5.0, 25, 2),
    "ten at once": (
        tuple(walk((0.6 * n, 1.5 + 0.3 * (n % 2)), (0.9 - 0.05 * n, 0)) for n in range(10)),
        4.0,
        25,
        10,
    ),
    "side by side": ((walk((0.5, 1.5), (1.0, 0)), walk((0.8, 1.5), (1.0, 0))), 4.0, 25, 2),
    "a bobbing head": ((bobbing,), 4.0, 25, 1),
    "turning round": ((turning,), 4.0, 25, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_each_visitor_has_one_track(case: str, tracker: Tracker) -> None:
    paths, seconds, frames_per_s, visits = CASES[case]
    sights, tracks = follow(tracker, *paths, seconds=seconds, frames_per_s=frames_per_s)
    assert len(tracks) == visits
    if visits == len(paths):  # nobody's track ever goes over to somebody else
        for visitor in zip(*(sight.who for sight in sights), strict=True):
            assert len({track for track in visitor if track is not None}) == 1


def test_who_comes_later_is_another(tracker: Tracker) -> None:
    _, tracks = follow(
        tracker,
        walk((0.5, 1.5), (1.0, 0), (1.0, 9.0)),
        walk((4.0, 1.5), (-1.0, 0), (0.0, 1.2)),
        seconds=3,
    )
    assert len(tracks) == 2


def test_dim_light_the_weak_detections_keep_a_known_face(tracker: Tracker) -> None:
    """Scores fall below `high_score` after the face was confirmed: the second association."""
    _, tracks = follow(
        tracker,
        walk((0.5, 1.5), (1.0, 0)),
        seconds=4,
        scores=lambda at_s: 0.9 if at_s < 0.5 else RULES.high_score - 0.05,
    )
    assert len(tracks) == 1
    assert tracks[0].sightings == 100


def test_weak_detections_begin_no_track(tracker: Tracker) -> None:
    sights, tracks = follow(
        tracker,
        walk((0.5, 1.5), (1.0, 0)),
        seconds=1,
        scores=lambda at_s: RULES.high_score - 0.05,
    )
    assert not tracks and not tracker.tracks
    assert all(sight.who == (None,) for sight in sights)


def test_a_flicker_is_confirmed_by_nothing(tracker: Tracker) -> None:
    """A detection in every third frame, each at another place."""
    for frame in range(30):
        seen = faces((frame * 0.7, 1.0)) if frame % 3 == 0 else faces()
        assert not tracker.update(seen, 1 + frame * 40_000_000, RULES)
        assert all(track.state is State.TENTATIVE for track in tracker.tracks)
        assert len(tracker.tracks) == len(seen)


def test_lost_time_is_counted_in_seconds_not_in_frames(tracker: Tracker) -> None:
    """At one frame a second a face that is missing for one frame is not yet gone."""
    for second in range(4):
        tracker.update(faces((1.0, 1.0)), 1 + second * 10**9, RULES)
    assert not tracker.update(faces(), 1 + 4 * 10**9, RULES)
    assert tracker.tracks[0].state is State.LOST
    assert len(tracker.update(faces(), 1 + 5 * 10**9, RULES)) == 1


def test_who_is_at_the_same_place_after_the_lost_time_is_somebody_new(tracker: Tracker) -> None:
    """The camera gave no frame in between, so no turn could end the track before."""
    for frame in range(5):
        tracker.update(faces((1.0, 1.0)), 1 + frame * 40_000_000, RULES)
    ended = tracker.update(faces((1.0, 1.0)), 10 * 10**9, RULES)
    assert [track.track_id for track in ended] == [1]
    assert [track.track_id for track in tracker.tracks] == [2]


def test_states(tracker: Tracker) -> None:
    states = []
    for frame in range(RULES.confirm_after):
        tracker.update(faces((1.0, 1.0)), 1 + frame * 40_000_000, RULES)
        states.append(tracker.tracks[0].state)
    tracker.update(faces(), 1 + RULES.confirm_after * 40_000_000, RULES)
    states.append(tracker.tracks[0].state)
    before = [State.TENTATIVE] * (RULES.confirm_after - 1)
    assert states == [*before, State.CONFIRMED, State.LOST]


def out_and_back(away_s: float) -> Path:
    """Leaves the picture at 3 m with 1.1 m/s and is back at the same place after so long."""

    def path(at_s: float) -> tuple[float, float] | None:
        if at_s < 2:
            return 0.8 + 1.1 * at_s, 1.5
        return None if at_s < 2 + away_s else (3.0 - 1.1 * (at_s - 2 - away_s), 1.5)

    return path


def test_who_turns_round_out_of_sight_is_the_same(tracker: Tracker) -> None:
    _, tracks = follow(tracker, out_and_back(0.5), seconds=4)
    assert len(tracks) == 1


def test_who_enters_later_where_somebody_left_is_somebody_else(tracker: Tracker) -> None:
    """It could be the same, but is rather somebody who follows."""
    _, tracks = follow(tracker, out_and_back(1.3), seconds=5)
    assert len(tracks) == 2


def test_a_small_face_behind_a_large_one_is_somebody_else(tracker: Tracker) -> None:
    """The near one leaves and a far one becomes visible at the same place: no one shrinks so."""
    for frame in range(10):
        tracker.update(faces((1.0, 1.0), height_m=0.5), 1 + frame * 40_000_000, RULES)
    for frame in range(10, 20):
        tracker.update(faces((1.0, 1.0), height_m=0.15), 1 + frame * 40_000_000, RULES)
    assert len({track.track_id for track in tracker.tracks}) == 2


def test_more_faces_than_places_wait(tracker: Tracker) -> None:
    crowd = faces(*((0.4 * (n % 8), 0.4 * (n // 8)) for n in range(MOST_TRACKS)))
    stranger = faces((9.0, 9.0))
    for frame in range(5):
        tracker.update(crowd, 1 + frame * 40_000_000, RULES)
    assert len(tracker.tracks) == MOST_TRACKS
    assert not tracker.update(stranger, 1 + 5 * 40_000_000, RULES)
    for track in tracker.update(stranger, 1 + 10**10, RULES):
        tracker.forget(track)
    tracker.update(stranger, 2 + 10**10, RULES)
    assert len(tracker.tracks) == 1


def test_nothing_is_left_of_a_forgotten_track(tracker: Tracker) -> None:
    for frame in range(5):
        tracker.update(faces((1.0, 1.0)), 1 + frame * 40_000_000, RULES)
    for track in tracker.reset():
        tracker.forget(track)
    held = dict(memory.buffers("tracker"))
    for name in ("boxes", "landmarks", "place", "speed", "doubt", "last"):
        assert not held[f"tracker.{name}"].any(), name


def test_reset_ends_only_what_was_confirmed(tracker: Tracker) -> None:
    for frame in range(5):
        tracker.update(faces((1.0, 1.0)), 1 + frame * 40_000_000, RULES)
    tracker.update(faces((1.0, 1.0), (5.0, 1.0)), 1 + 5 * 40_000_000, RULES)
    assert len(tracker.tracks) == 2
    assert len(tracker.reset()) == 1
    assert not tracker.tracks


def test_numbers_are_never_given_twice(tracker: Tracker) -> None:
    seen: list[int] = []
    for visit in range(4):
        for frame in range(4):
            tracker.update(faces((visit, 1.0)), 1 + visit * 10**10 + frame * 40_000_000, RULES)
        seen += [track.track_id for track in tracker.reset()]
    assert all(a < b for a, b in pairwise(seen)) and len(seen) == 4
