"""A drawn face that stands nowhere else: the visitor of the self-test.

Every pixel of the frame is random within a few levels of its colour, so that each run of pixels,
and of all that is computed from them, is a value that no memory holds by chance.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT = 0.45
"""Height of the head, as a part of the frame's smaller side."""
_NOISE = 15.0
_BACKGROUND = (122, 117, 20)
# Centre and half axes in heights of the head from its centre (mirrored ones once for each side),
# and the colour, BGR. The detector found this face best out of some hundred random variations.
_PARTS = (
    ((0.0, -0.15), (0.67, 0.58), (27, 93, 20)),  # hair
    ((0.0, 0.75), (0.25, 0.40), (117, 135, 149)),  # neck
    ((0.0, 0.02), (0.33, 0.73), (181, 155, 205)),  # face
    ((0.22, -0.07), (0.094, 0.018), (20, 20, 25)),  # brow
    ((0.22, -0.06), (0.064, 0.028), (225, 225, 225)),  # eye
    ((0.22, -0.06), (0.028, 0.028), (30, 30, 40)),  # iris
    ((0.0, 0.08), (0.035, 0.10), (164, 154, 225)),  # nose
    ((0.0, 0.23), (0.043, 0.019), (73, 98, 144)),  # nostrils
    ((0.0, 0.36), (0.116, 0.033), (30, 43, 116)),  # mouth
)


def draw(pixels: NDArray[np.uint8]) -> None:
    """Fill u8 (H, W, 3) BGR in place, with other noise each time; no copy of it is made."""
    cv2.setRNGSeed(int.from_bytes(os.urandom(4), "little") >> 1)
    height, width = pixels.shape[:2]
    unit = HEIGHT * min(height, width)
    _fill(pixels, _BACKGROUND)
    for (across, down), (half_width, half_height), colour in _PARTS:
        for side in (-1, 1) if across else (1,):
            x, y = width / 2 + side * across * unit, height / 2 + down * unit
            rows = half_height * unit
            for row in range(max(0, round(y - rows)), min(height, round(y + rows))):
                reach = half_width * unit * max(0.0, 1 - ((row + 0.5 - y) / rows) ** 2) ** 0.5
                _fill(pixels[row : row + 1, max(0, round(x - reach)) : round(x + reach)], colour)


def _fill(part: NDArray[np.uint8], colour: tuple[int, int, int]) -> None:
    if part.size:
        level = np.asarray(colour, np.float64)
        cv2.randu(part, level - _NOISE, level + _NOISE)
