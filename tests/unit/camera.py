"""A camera without hardware: what OpenCV's V4L2 capture does, as far as the driver asks for it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


class FakeCapture:
    """Gives frames whose every value is their number, until it is unplugged.

    Args:
        size: what it gives, whatever it is asked for; None: what it is asked for.
        present: whether the device is there when it is opened.
        frames: unplugged after so many.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int] | None = None,
        present: bool = True,
        frames: int = 1 << 30,
    ) -> None:
        self.size = size
        self.present = present
        self.left = frames
        self.grabbed = 0
        self.asked: dict[int, float] = {}
        self.grows_at = -1
        self.closed = 0

    def __call__(self, device: str, backend: int) -> cv2.VideoCapture:
        assert backend == cv2.CAP_V4L2
        return self  # type: ignore[return-value]

    def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
        return self.present

    def set(self, key: int, value: float) -> bool:
        self.asked[key] = value
        return True

    def get(self, key: int) -> float:
        if self.size and key == cv2.CAP_PROP_FRAME_WIDTH:
            return self.size[0]
        if self.size and key == cv2.CAP_PROP_FRAME_HEIGHT:
            return self.size[1]
        return self.asked.get(key, 0)

    def grab(self) -> bool:
        self.left -= 1
        self.grabbed += 1
        return self.left >= 0

    def retrieve(self, image: NDArray[np.uint8]) -> tuple[bool, NDArray[np.uint8]]:
        if self.grabbed - 1 == self.grows_at:
            return True, np.zeros((image.shape[0] * 2, *image.shape[1:]), np.uint8)
        image.fill((self.grabbed - 1) % 256)
        return True, image

    def release(self) -> None:
        self.closed += 1
