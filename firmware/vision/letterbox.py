"""A whole frame in a network's input, by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.vision import memory

cv2.setNumThreads(1)  # the stack of a parked pool thread would keep rows of the last picture


def scale_of(width_px: int, height_px: int, columns: int, rows: int) -> float:
    """Pixels of a network's input for one of a frame that it shows whole."""
    return min(columns / width_px, rows / height_px)


def halvings_of(scale: float) -> int:
    """How often a frame is halved before it is sampled.

    Halving first keeps thin features that linear sampling alone would skip over, and a mean of 2x2
    pixels costs a tenth of cv2's general INTER_AREA.
    """
    return max(0, int(np.log2(1 / scale) + 1e-9))


class Letterbox:
    """Writes frames of one size into a network's input: scaled evenly, at the top left.

    What the frame does not cover stays zero.
    """

    def __init__(self, width_px: int, height_px: int, target: NDArray[np.float32]) -> None:
        rows, columns = target.shape[2:]
        scale = scale_of(width_px, height_px, columns, rows)
        width, height = round(width_px * scale), round(height_px * scale)
        self._halves: list[NDArray[np.uint8]] = []
        for step in range(1, halvings_of(scale) + 1):
            shape = (height_px >> step, width_px >> step, 3)
            self._halves.append(memory.allocate(f"detector.half{step}", shape, np.uint8))
        self._scaled = memory.allocate("detector.scaled", (height, width, 3), np.uint8)
        self._planes = memory.allocate("detector.planes", (3, height, width), np.uint8)
        self._plane_list = list(self._planes)
        self._target = target[0, :, :height, :width]

    def __call__(self, pixels: NDArray[np.uint8]) -> None:
        """u8 (H, W, 3) BGR → f32 (1, 3, h, w) RGB 0 … 255."""
        for half in self._halves:
            rows, columns = half.shape[:2]
            even = pixels[: 2 * rows, : 2 * columns]
            cv2.resize(even, (columns, rows), dst=half, interpolation=cv2.INTER_AREA)
            pixels = half
        rows, columns = self._scaled.shape[:2]
        cv2.resize(pixels, (columns, rows), dst=self._scaled, interpolation=cv2.INTER_LINEAR)
        cv2.split(self._scaled, self._plane_list)
        np.copyto(self._target, self._planes[::-1])
