"""IDF1 and identity switches: what counts for a tracker and what counts against it."""

from __future__ import annotations

import pytest

from hil.scenes.evaluation import Track, identity
from hil.scenes.truth import Sample, Stay

WIDTH, FRAMES = 1280, 20
LEFT, RIGHT = (100.0, 100.0, 160.0, 180.0), (900.0, 100.0, 960.0, 180.0)
VISITS = [Stay(0, 0.0, 9.0), Stay(1, 0.0, 9.0)]


def truth(*, in_view: float = 1.0, second: bool = True) -> list[Sample]:
    return [
        Sample(index, who, index / 10, box, in_view, 0.0, 2.0, 1.0, 1.0)
        for index in range(FRAMES)
        for who, box in ((0, LEFT), (1, RIGHT))[: 1 + second]
    ]


def tracked(*rows: tuple[int, tuple[float, ...]], frames: range) -> dict[int, list[Track]]:
    return {index: list(rows) if index in frames else [] for index in range(FRAMES)}


ALL = range(FRAMES)


def test_a_perfect_tracker_has_one_and_no_switches() -> None:
    frames = tracked((7, LEFT), (8, RIGHT), frames=ALL)
    assert identity(frames, truth(), VISITS, WIDTH) == (1.0, 0)


def test_tracks_that_change_places_are_switches() -> None:
    before = tracked((7, LEFT), (8, RIGHT), frames=range(10))
    after = tracked((8, LEFT), (7, RIGHT), frames=range(10, FRAMES))
    both = {index: before[index] + after[index] for index in ALL}
    idf1, switches = identity(both, truth(), VISITS, WIDTH)
    assert switches == 2
    assert idf1 == pytest.approx(0.5, abs=0.01)


def test_a_visitor_who_comes_back_as_a_new_visit_needs_a_new_track() -> None:
    visits = [Stay(0, 0.0, 0.9), Stay(0, 1.0, 9.0)]
    kept = tracked((7, LEFT), frames=ALL)
    renewed: dict[int, list[Track]] = {index: [(7 if index < 10 else 8, LEFT)] for index in ALL}
    assert identity(renewed, truth(second=False), visits, WIDTH) == (1.0, 0)
    assert identity(kept, truth(second=False), visits, WIDTH)[0] < 0.7


def test_a_missed_visitor_and_a_ghost_cost() -> None:
    missed, _ = identity(tracked((7, LEFT), frames=ALL), truth(), VISITS, WIDTH)
    ghost, _ = identity(
        tracked((7, LEFT), (8, RIGHT), (9, (500.0, 100.0, 560.0, 180.0)), frames=ALL),
        truth(),
        VISITS,
        WIDTH,
    )
    assert missed == pytest.approx(2 / 3, abs=0.01)
    assert ghost == pytest.approx(0.8, abs=0.01)


def test_a_half_hidden_face_is_neither_demanded_nor_forbidden() -> None:
    seen = tracked((7, LEFT), frames=ALL)
    unseen = tracked(frames=ALL)
    half = truth(in_view=0.5, second=False)
    assert identity(seen, half, VISITS, WIDTH) == (1.0, 0)
    assert identity(unseen, half, VISITS, WIDTH) == (1.0, 0)


def test_a_box_that_hardly_overlaps_is_somewhere_else() -> None:
    aside = (130.0, 100.0, 190.0, 180.0)  # a third in common
    idf1, _ = identity(tracked((7, aside), frames=ALL), truth(second=False), VISITS, WIDTH)
    assert idf1 == 0.0


def test_nobody_there_and_nothing_tracked_is_right_and_a_ghost_is_not() -> None:
    assert identity(tracked(frames=ALL), [], [], WIDTH) == (1.0, 0)
    assert identity(tracked((7, LEFT), frames=ALL), [], [], WIDTH)[0] == 0.0
