"""Rendering: the same script gives the same frames, and the picture agrees with the truth."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from firmware.vision.frames import Frame
from hil.scenes import portraits
from hil.scenes.render import Scene
from hil.scenes.script import Script
from hil.scenes.source import SceneSource
from hil.scenes.truth import Sample

CAMERA = {"width_px": 480, "height_px": 270, "noise": 0.0}


def visitor(x0: float = -0.5, x1: float = 0.5, z: float = 2.0, **other: Any) -> dict[str, Any]:
    return {"portrait": "obama", "path": [[0.0, x0, z], [2.0, x1, z]], **other}


def scene(*visitors: dict[str, Any], camera: dict[str, Any] | None = None, **other: Any) -> Scene:
    tree = {"title": "", "seconds": 2, "interactions": 0, "camera": CAMERA | (camera or {})}
    return Scene(msgspec.convert({**tree, "visitor": list(visitors), **other}, Script))


def drawn(what: Scene, index: int = 25) -> tuple[NDArray[np.uint8], list[Sample]]:
    pixels = np.empty((270, 480, 3), np.uint8)
    return pixels, what.draw(index, pixels)


def part(pixels: NDArray[np.uint8], box: tuple[float, ...]) -> NDArray[np.int16]:
    x0, y0, x1, y1 = (round(edge) for edge in box)
    return pixels[y0:y1, x0:x1].astype(np.int16)


def test_frames_depend_on_script_and_index_alone() -> None:
    noisy = {"noise": 3.0}
    first = drawn(scene(visitor(), camera=noisy))[0]
    again = scene(visitor(), camera=noisy)
    drawn(again, 7)
    assert np.array_equal(first, drawn(again)[0])
    assert not np.array_equal(first, drawn(again, 26)[0])
    assert not np.array_equal(first, drawn(scene(visitor(), camera=noisy, seed=2))[0])


def test_the_face_is_where_the_truth_says() -> None:
    pixels, (sample,) = drawn(scene(visitor(x0=0.3, x1=0.3)))
    empty, _ = drawn(scene())
    changed = np.abs(part(pixels, sample.box) - part(empty, sample.box)).max(axis=2) > 10
    assert changed.mean() > 0.9
    x0, y0, x1, _ = sample.box
    beside = (x1 + 25, y0, x1 + 25 + (x1 - x0), y0 + 10)
    assert np.array_equal(part(pixels, beside), part(empty, beside))


def test_truth_without_drawing_is_the_same() -> None:
    crossing = scene(visitor(z=2.5), visitor(x0=0.5, x1=-0.5, z=1.8))
    assert drawn(crossing)[1] == crossing.truth(25)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_visitor_hides_the_farther_one(order: tuple[int, int]) -> None:
    both = [visitor(0.0, 0.0, z=3.0, height_m=1.8), visitor(0.0, 0.0, z=1.8, height_m=1.8)]
    _, samples = drawn(scene(*(both[index] for index in order)))
    in_view = {round(sample.distance_m, 1): sample.in_view for sample in samples}
    assert in_view[1.8] == 1.0
    assert in_view[3.0] < 0.3


def test_a_pillar_hides_who_is_behind_it_and_nobody_before_it() -> None:
    people = visitor(0.0, 0.0, z=3.0), visitor(0.05, 0.05, z=1.4, height_m=1.6)
    pillar = [{"x_m": 0.0, "z_m": 2.0, "width_m": 0.5}]
    _, (behind, before) = drawn(scene(*people, pillar=pillar))
    assert behind.in_view == 0.0
    assert before.in_view == 1.0


def test_what_is_outside_the_picture_is_not_in_view() -> None:
    edge = 480 / 2 / scene().view.px_per_m(2.0)
    _, (half,) = drawn(scene(visitor(edge, edge)))
    assert 0.3 < half.in_view < 0.7
    _, (gone,) = drawn(scene(visitor(edge + 0.5, edge + 0.5)))
    assert gone.in_view == 0.0


def test_nearer_is_larger_and_a_child_lower() -> None:
    _, (near, far, child) = drawn(
        scene(
            visitor(0.0, 0.0, 1.5),
            visitor(0.6, 0.6, 3.0),
            visitor(-0.6, -0.6, 3.0, height_m=1.15),
        )
    )
    assert near.box[2] - near.box[0] == pytest.approx(2 * (far.box[2] - far.box[0]), rel=0.01)
    assert child.box[1] > far.box[3]
    assert child.box[2] - child.box[0] < far.box[2] - far.box[0]


def test_a_fast_visitor_is_blurred_along_the_way_only() -> None:
    def sharpness(shutter_s: float, axis: int) -> float:
        pixels, (sample,) = drawn(scene(visitor(-2.0, 2.0), camera={"shutter_s": shutter_s}))
        return float(np.abs(np.diff(part(pixels, sample.box), axis=axis)).mean())

    assert sharpness(0.03, 1) < 0.6 * sharpness(0.0, 1)
    assert sharpness(0.03, 0) > 0.6 * sharpness(0.0, 0)


def test_light_falls_and_flickers() -> None:
    full = drawn(scene())[0].mean()
    assert drawn(scene(light={"level": 0.2}))[0].mean() == pytest.approx(0.2 * full, rel=0.05)
    lamp = scene(light={"flicker_hz": 3.0, "flicker_depth": 0.7})
    levels = [lamp.light(tick / 100) for tick in range(100)]
    assert min(levels) == pytest.approx(0.3, abs=0.02)
    assert max(levels) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", portraits.NAMES)
def test_a_head_that_turns_away_keeps_its_outline_and_loses_its_face(name: str) -> None:
    level = portraits.head(name).levels[2]
    aside = portraits.turned(level, 85.0)
    assert np.array_equal(aside[..., 3], level[..., 3])
    middle = np.s_[40:60, 55:75]  # between the eyes and below, 350 px per metre
    assert np.abs(aside[middle].astype(int) - level[middle]).mean() > 10
    inside = level[..., 3] == 255
    assert np.abs(portraits.turned(level, 0.0).astype(int) - level)[inside].mean() < 1


def test_a_path_has_round_corners_and_a_steady_speed_between_them() -> None:
    turning = {"portrait": "biden", "path": [[0, -1.0, 3.0], [1, 0.0, 3.0], [2, 0.0, 2.0]]}
    speeds = [turn.truth(index)[0].speed_m_s for turn in [scene(turning)] for index in range(2, 49)]
    assert speeds == pytest.approx([1.0] * len(speeds), abs=0.02)
    path = [scene(turning).truth(index)[0].box[0] for index in (23, 24, 25, 26)]
    steps = np.diff(path)
    assert steps[0] > steps[1] > steps[2] > 0


def test_a_scene_is_a_source_of_frames() -> None:
    source = SceneSource(scene(visitor()))
    frame = Frame(np.zeros((270, 480, 3), np.uint8))
    taken = 0
    while source.read(frame):
        assert frame.index == taken
        taken += 1
        assert frame.captured_at_ns == taken * 40_000_000
    assert taken == 50
    assert [sample.frame for sample in source.samples] == list(range(50))
    source.release()
    assert not source.read(frame)
