"""Yaw and pitch from five landmarks, held to a head turned in space."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from firmware.vision import pose

# Right, down, towards the camera, in distances between the eyes.
HEAD = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.49, 0.48], [-0.4, 0.93, 0.13], [0.4, 0.93, 0.13]])


def turned(yaw: float = 0, pitch: float = 0, roll: float = 0) -> NDArray[np.float32]:
    """Landmarks of a head 60 px between the eyes: turned to the right, down, and tilted."""
    a, b, c = (math.radians(angle) for angle in (yaw, pitch, roll))
    about_x = np.array([[1, 0, 0], [0, math.cos(b), math.sin(b)], [0, -math.sin(b), math.cos(b)]])
    about_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    tilt = np.array([[math.cos(c), -math.sin(c)], [math.sin(c), math.cos(c)]])
    flat = (HEAD @ about_x.T @ about_y.T)[:, :2] @ tilt.T
    return np.asarray(flat * 60 + (300, 200), np.float32)


@pytest.mark.parametrize("roll", [-30, 0, 30])
@pytest.mark.parametrize("yaw", [-50, -20, 0, 20, 50])
def test_yaw(yaw: int, roll: int) -> None:
    assert pose.angles(turned(yaw=yaw, roll=roll))[0] == pytest.approx(yaw, abs=2)


@pytest.mark.parametrize("roll", [-30, 0, 30])
@pytest.mark.parametrize("pitch", [-40, -20, 0, 20, 40])
def test_pitch(pitch: int, roll: int) -> None:
    assert pose.angles(turned(pitch=pitch, roll=roll))[1] == pytest.approx(pitch, abs=2)


@pytest.mark.parametrize(
    ("yaw", "pitch", "faces"),
    [(0, 0, True), (20, 10, True), (-20, -15, True), (35, 0, False), (0, 35, False)],
)
def test_facing(yaw: int, pitch: int, faces: bool) -> None:
    assert pose.facing(turned(yaw, pitch)) is faces


def test_landmarks_in_one_point_are_no_facing_face() -> None:
    assert not pose.facing(np.full((5, 2), 7, np.float32))
