"""Which crops of a visitor are looked at, and how their votes add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from firmware.drivers.onnx_engine import OnnxEngine
from firmware.record import AgeCategory, Expression, Gender
from firmware.settings import Attributes as Rules
from firmware.vision import memory
from firmware.vision.attributes import VIEWS, Attributes
from firmware.vision.frames import Frame
from firmware.vision.sampling import HostSampler
from firmware.vision.tracking import State, Track
from tests.unit import networks
from tests.unit.test_pose import turned

FRAME_NS = 40_000_000
RULES = Rules()
ADULT = {
    "age": np.array([[40.0, 2.0]], np.float32),
    "gender": np.array([[0.99, 0.01]], np.float32),
    "expression": np.array([[0, 0, 0, 0.9, 0.1, 0, 0]], np.float32),
}
CHILD = {**ADULT, "age": np.array([[9.0, 2.0]], np.float32)}


class Bench:
    """Attributes over engines that always answer the same, and how often each was run."""

    def __init__(self, folder: Path, answers: dict[str, np.ndarray]) -> None:
        self.runs: Counter[str] = Counter()
        self.engines = {
            name: networks.constant(folder, name, (1, 3, 64, 64), {name: answer})
            for name, answer in answers.items()
        }
        for engine in self.engines.values():
            engine.run = self._counted(engine)  # type: ignore[assignment, method-assign]
        sampler = HostSampler(self.engines, 1280, 720)
        self.attributes = Attributes(self.engines, sampler, 1280, 720)
        random = np.random.default_rng(1)
        self.frame = Frame(random.integers(0, 255, (720, 1280, 3)).astype(np.uint8))

    def _counted(self, engine: OnnxEngine) -> Callable[[int], None]:
        run = engine.run

        def counted(rows: int = 0) -> None:
            self.runs[engine.name] += 1
            run(rows)

        return counted

    @property
    def looks(self) -> int:
        """Faces that were looked at."""
        return self.runs["age"] // len(VIEWS["age"])

    def watch(
        self,
        *tracks: Track,
        seconds: float,
        rules: Rules = RULES,
        change: Callable[[Track, float], None] = lambda track, at_s: None,
    ) -> None:
        for number in range(round(seconds * 25)):
            self.frame.captured_at_ns = number * FRAME_NS
            for track in tracks:
                track.last_seen_ns = self.frame.captured_at_ns
                change(track, number * 0.04)
            self.attributes.estimate(self.frame, list(tracks), rules)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[[dict[str, np.ndarray]], Bench]]:
    made: list[Bench] = []

    def make(answers: dict[str, np.ndarray]) -> Bench:
        made.append(Bench(tmp_path, answers))
        return made[-1]

    yield make
    for each in made:
        for engine in each.engines.values():
            engine.close()
    for owner in ("attributes", "chips"):
        memory.release(owner)


def visitor(row: int = 0, *, height_px: float = 120, yaw: float = 0, x: float = 400) -> Track:
    box = np.array([x, 200, x + height_px * 0.8, 200 + height_px], np.float32)
    landmarks = turned(yaw) * (height_px / 140)
    track = Track(row + 1, row, 0, box, landmarks.astype(np.float32))
    track.state = State.CONFIRMED
    return track


def test_the_votes_become_the_estimates(bench: Callable[..., Bench]) -> None:
    on, track = bench(ADULT), visitor()
    on.watch(track, seconds=2)
    gender, age, expression = on.attributes.vote(track)
    assert gender.value is Gender.FEMALE and gender.confidence == "high"
    assert age.category is AgeCategory.A35_44
    assert expression.shares == {Expression.HAPPY: 90, Expression.NEUTRAL: 10}


def test_a_child_has_no_finer_data(bench: Callable[..., Bench]) -> None:
    on, track = bench(CHILD), visitor()
    on.watch(track, seconds=2)
    gender, age, expression = on.attributes.vote(track)
    assert age.category is AgeCategory.CHILD
    assert gender.value is Gender.UNKNOWN and expression.dominant is Expression.UNKNOWN
    assert not expression.shares


def test_without_the_expression_engine_there_is_no_expression(bench: Callable[..., Bench]) -> None:
    on, track = bench({name: ADULT[name] for name in ("age", "gender")}), visitor()
    on.watch(track, seconds=2)
    gender, _, expression = on.attributes.vote(track)
    assert gender.value is Gender.FEMALE and expression.dominant is Expression.UNKNOWN


def test_in_count_mode_nothing_is_estimated(bench: Callable[..., Bench]) -> None:
    on, track = bench({}), visitor()
    on.watch(track, seconds=2)
    gender, age, expression = on.attributes.vote(track)
    assert gender.value is Gender.UNKNOWN and age.category is AgeCategory.UNKNOWN
    assert expression.dominant is Expression.UNKNOWN


def test_a_visitor_is_looked_at_so_often_and_no_more(bench: Callable[..., Bench]) -> None:
    on, track = bench(ADULT), visitor()
    on.watch(track, seconds=60, rules=Rules(crops_per_track=5))
    assert on.looks == 5


def test_looks_are_spread_over_a_stay(bench: Callable[..., Bench]) -> None:
    on, track = bench(ADULT), visitor()
    looks = []
    for _ in range(3):
        on.watch(track, seconds=1)
        looks.append(on.looks)
    assert looks[0] >= 1 and looks[-1] < RULES.crops_per_track


@pytest.mark.parametrize("most", [1, 3])
def test_so_many_faces_in_a_frame_and_no_more(most: int, bench: Callable[..., Bench]) -> None:
    on = bench(ADULT)
    tracks = [visitor(row, x=100 + 200 * row) for row in range(5)]
    on.watch(*tracks, seconds=0.04, rules=Rules(faces_per_frame=most))
    assert on.looks == most


def test_each_of_many_visitors_gets_its_turn(bench: Callable[..., Bench]) -> None:
    on = bench(ADULT)
    tracks = [visitor(row, x=100 + 200 * row, height_px=100 + 10 * row) for row in range(5)]
    on.watch(*tracks, seconds=0.2)
    assert all(on.attributes.vote(track)[0].value is Gender.FEMALE for track in tracks)


def test_who_was_not_looked_at_yet_goes_before_who_comes_nearer(
    bench: Callable[..., Bench],
) -> None:
    on, nearing, other = bench(ADULT), visitor(0), visitor(1, height_px=50, x=900)
    other.first_seen_ns = -(10**9)
    on.attributes.estimate(on.frame, [visitor(0, height_px=40)], RULES)

    def come_nearer(track: Track, at_s: float) -> None:
        if track is nearing:
            track.box[3] = 250 + 1000 * at_s

    on.watch(nearing, other, seconds=0.08, change=come_nearer)
    assert on.attributes.vote(other)[0].value is Gender.FEMALE


@pytest.mark.parametrize(
    "unfit",
    [
        pytest.param(visitor(height_px=27), id="too small"),
        pytest.param(visitor(x=-30), id="cut off by the picture's edge"),
    ],
)
def test_an_unfit_face_is_not_looked_at(unfit: Track, bench: Callable[..., Bench]) -> None:
    on = bench(ADULT)
    on.watch(unfit, seconds=2)
    assert on.looks == 0
    assert on.attributes.vote(unfit)[1].category is AgeCategory.UNKNOWN


def test_a_tentative_track_is_not_looked_at(bench: Callable[..., Bench]) -> None:
    on, track = bench(ADULT), visitor()
    track.state = State.TENTATIVE
    on.watch(track, seconds=1)
    assert on.looks == 0


def test_a_lost_face_is_not_looked_at_where_it_is_expected(bench: Callable[..., Bench]) -> None:
    on, track = bench(ADULT), visitor()
    track.state = State.LOST
    on.watch(track, seconds=1)
    assert on.looks == 0


def test_the_first_look_waits_for_a_good_pose_but_not_for_ever(
    bench: Callable[..., Bench],
) -> None:
    on, track = bench(ADULT), visitor(yaw=40)
    on.watch(track, seconds=0.36)
    assert on.looks == 0
    on.watch(track, seconds=0.48)
    assert on.looks == 1


def test_a_face_that_comes_nearer_is_looked_at_at_once(bench: Callable[..., Bench]) -> None:
    on, track = bench(ADULT), visitor(height_px=50)
    track.first_seen_ns = -(10**9)
    on.watch(track, seconds=0.08)
    assert on.looks == 1
    nearer = visitor(height_px=80)
    on.watch(nearer, seconds=0.04)
    assert on.looks == 2


def test_a_blurred_face_says_nothing(bench: Callable[..., Bench]) -> None:
    on, track = bench(ADULT), visitor()
    wave = 128 + 100 * np.sin(np.arange(1280) / 40)
    on.frame.pixels[:] = wave.astype(np.uint8)[None, :, None]
    on.watch(track, seconds=2)
    assert on.looks > 0
    assert on.attributes.vote(track)[0].value is Gender.UNKNOWN


def test_nothing_is_left_of_a_forgotten_visitor(bench: Callable[..., Bench]) -> None:
    on, track = bench(ADULT), visitor()
    on.watch(track, seconds=2)
    on.attributes.forget(track)
    held = dict(memory.buffers("attributes"))
    for name in ("taken", "taken_at_ns", "best", "weight", "age", "gender", "expression"):
        assert not held[f"attributes.{name}"].any(), name
