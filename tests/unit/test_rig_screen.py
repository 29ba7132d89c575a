"""The camera that is a file, before a sensor that is quick, slow, or held."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from hil.rigs import screen
from tests.unit.sleeping import SleepingClock

RATE, FRAMES = 12.5, 40
PERIOD_NS = round(1e9 / RATE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SleepingClock:
    made = SleepingClock()
    monkeypatch.setattr(screen, "time", made)
    return made


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame n is as bright as 5 n."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (64, 64))
    for number in range(FRAMES):
        writer.write(np.full((64, 64, 3), 5 * number, np.uint8))
    writer.release()
    return path


def opened(node: Path) -> screen.Screen:
    screen.rewind(node)
    camera = screen.Screen(str(node))
    camera.set(cv2.CAP_PROP_FPS, RATE)
    return camera


def seen(
    camera: screen.Screen,
    node: Path,
    clock: SleepingClock,
    busy_ns: list[int],
    *,
    since_s: float = 0.0,
) -> list[list[int]]:
    """[number, time in frames since the first] of each of the clip's frames that a sensor takes
    which works so long for each frame, in turn."""
    picture = np.zeros((64, 64, 3), np.uint8)
    taken: list[tuple[int, int]] = []
    while True:
        assert camera.grab()
        at_ns = camera.shown_at_ns
        assert camera.retrieve(picture)[0]
        if screen.position_s(node) == math.inf:
            break
        assert screen.position_s(node) == pytest.approx((at_ns - 10**12) / 1e9 + since_s)
        taken.append((round(float(picture.mean()) / 5), at_ns))
        clock.now_ns += busy_ns[len(taken) % len(busy_ns)]
    first, began_ns = taken[0] if taken else (0, 0)
    return [[number, first + round((at_ns - began_ns) / PERIOD_NS)] for number, at_ns in taken]


@pytest.mark.parametrize(
    ("busy_ms", "steps"),
    [
        ([30], {1}),  # quick enough for every frame
        ([150], {1, 2}),  # too slow: it misses what it must
        ([30, 30, 4000], {1, 3}),  # held for seconds: the clip waits for it
        ([900], {3}),  # a machine that hardly gets to it
    ],
)
def test_slow_sensor_misses_few_frames_in_a_row_and_each_bears_the_clips_time(
    tmp_path: Path, clip: Path, clock: SleepingClock, busy_ms: list[int], steps: set[int]
) -> None:
    node = tmp_path / "camera"
    node.write_text(screen.node(clip, clock.now_ns), "ascii")
    taken = seen(opened(node), node, clock, [each * 10**6 for each in busy_ms])
    numbers = [number for number, _ in taken]
    assert set(np.diff(numbers).tolist()) == steps
    assert [time for _, time in taken] == numbers
    assert FRAMES - numbers[-1] <= max(steps)


def test_time_goes_on_from_one_clip_to_nobody_to_the_next(
    tmp_path: Path, clip: Path, clock: SleepingClock
) -> None:
    node = tmp_path / "camera"
    camera = opened(node)
    picture = np.zeros((64, 64, 3), np.uint8)
    times = []
    for shown in (None, clip, clip, None):
        node.write_text(screen.node(shown, clock.now_ns), "ascii")
        for _ in range(5):
            assert camera.grab() and camera.retrieve(picture)[0]
            times.append(camera.shown_at_ns)
            clock.now_ns += 700 * 10**6
    assert all(before < after for before, after in itertools.pairwise(times))
    assert times[-1] >= clock.now_ns - 700 * 10**6, "a late clip leaves the time late behind it"


def test_camera_that_is_unplugged_gives_no_frame(
    tmp_path: Path, clip: Path, clock: SleepingClock
) -> None:
    node = tmp_path / "camera"
    node.write_text(screen.node(clip, clock.now_ns), "ascii")
    camera = opened(node)
    assert camera.isOpened() and camera.grab()
    node.unlink()
    assert not camera.grab() and not camera.isOpened()
    camera.release()


@pytest.mark.parametrize(("ago_s", "first"), [(1.6, 20), (60.0, None)])
def test_camera_that_is_opened_late_does_not_bring_the_past_back(
    ago_s: float, first: int | None, tmp_path: Path, clip: Path, clock: SleepingClock
) -> None:
    """A sensor that starts again must not see again who came before the power was cut."""
    node = tmp_path / "camera"
    node.write_text(screen.node(clip, clock.now_ns - round(ago_s * 1e9)), "ascii")
    taken = seen(opened(node), node, clock, [30 * 10**6], since_s=ago_s)
    assert (taken[0][0] if taken else None) == first
