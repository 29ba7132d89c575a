"""Faces aligned to one chip, whatever their place, size and tilt."""

from __future__ import annotations

import cmath
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from firmware.vision import memory
from firmware.vision.crops import Chips, View
from tests.unit.test_pose import turned

SIDE = 64
FRAME = (720, 1280)
EYES = (0.305, 0.301), (0.681, 0.301)
"""Where dlib's chip with padding 0.2 has the middles of the eyes."""


@pytest.fixture
def chips() -> Iterator[Chips]:
    yield Chips(FRAME[1], FRAME[0], SIDE)
    memory.release("chips")


def face(size_px: float, tilt_deg: float, centre: tuple[float, float]) -> NDArray[np.float32]:
    """Landmarks with so many pixels between the eyes."""
    upright = turned() - (300, 200)
    turn = cmath.rect(size_px / 60, np.radians(tilt_deg))
    points = (upright[:, 0] + 1j * upright[:, 1]) * turn + complex(*centre)
    return np.stack([points.real, points.imag], axis=1).astype(np.float32)


def spots(points: NDArray[np.float32], radius: float) -> NDArray[np.uint8]:
    """A black frame with a white disc at each of the points."""
    frame = np.zeros((*FRAME, 3), np.uint8)
    for x, y in points.tolist():
        place = (round(x * 16), round(y * 16))
        cv2.circle(frame, place, round(radius * 16), (255, 255, 255), -1, shift=4)
    return frame


def middle(chip: NDArray[np.float32]) -> tuple[float, float]:
    """Centre of what is white, as parts of the chip's side."""
    weight = chip.sum(axis=0)
    rows, columns = np.indices(weight.shape)
    total = weight.sum()
    return (columns * weight).sum() / total / SIDE, (rows * weight).sum() / total / SIDE


@pytest.mark.parametrize("tilt", [-25, 0, 40])
@pytest.mark.parametrize("size_px", [14, 24, 60, 150])
def test_the_eyes_are_where_the_networks_expect_them(size_px: int, tilt: int, chips: Chips) -> None:
    landmarks = face(size_px, tilt, (600, 300))
    target = np.zeros((3, SIDE, SIDE), np.float32)
    for eye, expected in zip(landmarks[:2], EYES, strict=True):
        chips.cut(spots(eye[None], size_px / 6), landmarks, target)
        assert middle(target) == pytest.approx(expected, abs=0.03)


def test_padding_gives_room_around_the_face(chips: Chips) -> None:
    landmarks = face(60, 0, (600, 300))
    target = np.zeros((3, SIDE, SIDE), np.float32)
    distances = []
    for padding in (0.1, 0.2, 0.4):
        places = []
        for eye in landmarks[:2]:
            chips.cut(spots(eye[None], 10), landmarks, target, View(padding))
            places.append(middle(target)[0])
        distances.append(places[1] - places[0])
    assert distances[0] * 1.2 == pytest.approx(distances[1] * 1.4, rel=0.02)
    assert distances[1] * 1.4 == pytest.approx(distances[2] * 1.8, rel=0.02)


def test_a_mirrored_chip_has_the_left_eye_at_the_right(chips: Chips) -> None:
    landmarks = face(60, 0, (600, 300))
    target = np.zeros((3, SIDE, SIDE), np.float32)
    chips.cut(spots(landmarks[:1], 10), landmarks, target, View(mirrored=True))
    assert middle(target)[0] == pytest.approx(1 - EYES[0][0], abs=0.03)


def test_a_lowered_face_stands_lower(chips: Chips) -> None:
    landmarks = face(60, 0, (600, 300))
    target = np.zeros((3, SIDE, SIDE), np.float32)
    chips.cut(spots(landmarks[:1], 10), landmarks, target, View(lowered=0.1))
    assert middle(target)[1] == pytest.approx(EYES[0][1] + 0.1, abs=0.03)


def test_colours_are_red_green_blue(chips: Chips) -> None:
    frame = np.full((*FRAME, 3), (10, 20, 30), np.uint8)
    target = np.zeros((3, SIDE, SIDE), np.float32)
    chips.cut(frame, face(60, 0, (600, 300)), target)
    assert [plane.mean() for plane in target] == [30, 20, 10]
    assert (chips.green == 20).all()


def test_fine_detail_of_a_large_face_is_averaged_not_sampled(chips: Chips) -> None:
    """Lines of one pixel: sampling would give black or white, averaging gives grey."""
    frame = np.zeros((*FRAME, 3), np.uint8)
    frame[:, ::2] = 200
    target = np.zeros((3, SIDE, SIDE), np.float32)
    chips.cut(frame, face(150, 0, (600, 300)), target)
    assert target.min() > 80 and target.max() < 120


@pytest.mark.parametrize("centre", [(-40, -40), (1270, 715), (640, -200), (5000, 5000)])
def test_a_face_at_or_beyond_the_edge_is_cut_without_error(
    centre: tuple[int, int], chips: Chips
) -> None:
    frame = np.full((*FRAME, 3), 128, np.uint8)
    target = np.zeros((3, SIDE, SIDE), np.float32)
    chips.cut(frame, face(100, 0, centre), target)
    assert (target == 128).all()


def test_landmarks_in_one_point_do_not_divide_by_zero(chips: Chips) -> None:
    target = np.zeros((3, SIDE, SIDE), np.float32)
    chips.cut(np.zeros((*FRAME, 3), np.uint8), np.full((5, 2), 50, np.float32), target)
    assert np.isfinite(target).all()
