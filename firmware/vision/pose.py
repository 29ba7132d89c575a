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
    # Points as complex numbers, in turns and lengths of the line between the eyes: then the nose
    # and the mouth are so far aside (real) and below (imaginary) of the middle between them.
    left_eye, right_eye, nose, *mouth = (complex(x, y) for x, y in landmarks.tolist())
    across, eyes = right_eye - left_eye, (left_eye + right_eye) / 2
    if abs(across) < 1e-3:
        return 90, 0
    nose_at = (nose - eyes) / across
    mouth_down = ((sum(mouth) / 2 - eyes) / across).imag
    yaw = math.atan(nose_at.real / _NOSE_FRONT)
    # Measured down the face: nose/mouth = (below·cos + front·sin) / (the same for the mouth).
    sine = nose_at.imag * _MOUTH_BELOW - mouth_down * _NOSE_BELOW
    cosine = mouth_down * _NOSE_FRONT - nose_at.imag * _MOUTH_FRONT
    pitch = math.atan2(sine, cosine) if cosine > 0 else math.copysign(math.pi / 2, sine)
    return round(math.degrees(yaw)), round(math.degrees(pitch))


def facing(landmarks: NDArray[np.float32]) -> bool:
    """Whether the face is turned to the sensor."""
    yaw, pitch = angles(landmarks)
    return abs(yaw) <= FACING_DEG and abs(pitch) <= FACING_DEG
