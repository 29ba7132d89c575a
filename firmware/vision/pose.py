"""Which way a face is turned, from its five landmarks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# A head in distances between the eyes, seen from the middle between them. Below: the median of the
# detector's landmarks on frontal faces; in front: the mean adult head.
_NOSE_BELOW, _NOSE_FRONT = 0.49, 0.48
_MOUTH_BELOW, _MOUTH_FRONT = 0.93, 0.13

FACING_DEG = 25
"""A face turned by less than this, sideways and up or down, looks at the sensor."""


def angles(landmarks: NDArray[np.float32]) -> tuple[int, int]:
    """Yaw and pitch of a face as the sensor sees it, in whole degrees.

    Args:
        landmarks: f32 (5, 2) pixels, in the order of `Detections.landmarks`.

    Returns: yaw -90 … 90, positive to the picture's right; pitch -90 … 90, positive down.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks
    across = right_eye - left_eye
    between = math.hypot(*across)
    if between < 1e-3:
        return 90, 0
    across = across / between
    eyes = (left_eye + right_eye) / 2
    aside = float((nose - eyes) @ across)
    yaw = math.atan2(aside / _NOSE_FRONT, between)
    # Measured down the face: nose/mouth = (below·cos + front·sin) / (the same for the mouth).
    down = np.array((-across[1], across[0]))
    nose_down = float((nose - eyes) @ down)
    mouth_down = float(((left_mouth + right_mouth) / 2 - eyes) @ down)
    sine = nose_down * _MOUTH_BELOW - mouth_down * _NOSE_BELOW
    cosine = mouth_down * _NOSE_FRONT - nose_down * _MOUTH_FRONT
    pitch = math.atan2(sine, cosine) if cosine > 0 else math.copysign(math.pi / 2, sine)
    return round(math.degrees(yaw)), round(math.degrees(pitch))


def facing(landmarks: NDArray[np.float32]) -> bool:
    """Whether the face is turned to the sensor."""
    yaw, pitch = angles(landmarks)
    return abs(yaw) <= FACING_DEG and abs(pitch) <= FACING_DEG
