"""From a frame to the engines' inputs, where both lie in this process's own memory.

What is shown to a network is said by `Detector` and `Attributes`; how it gets into the network's
input depends on where frame and input are. `HostSampler` is the one over OpenCV;
`firmware/drivers/gpu_sampler.py` is the one that stays on the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.errors import EngineError
from firmware.vision import memory
from firmware.vision.crops import Chips, View
from firmware.vision.engine import Engine
from firmware.vision.frames import Frame
from firmware.vision.letterbox import Letterbox


class Sampler(Protocol):
    """Fills engines' inputs, f32 RGB 0 … 255, from frames of one size."""

    def letterbox(self, frame: Frame, engine: Engine) -> None:
        """The whole frame, at `letterbox.scale_of`, at the top left of the detector's input.

        Raises:
            EngineError: the GPU failed.
        """

    def cut(
        self, frame: Frame, landmarks: NDArray[np.float32], engine: Engine, row: int, view: View
    ) -> None:
        """A face into one row of an attribute network's input.

        Args:
            landmarks: f32 (5, 2), in the order of `Detections.landmarks`.

        Raises:
            EngineError: the GPU failed.
        """

    def contrast(self) -> tuple[float, float]:
        """Of the chip that was cut last, its green plane: the deviations of its Laplacian and of
        its values.

        Raises:
            EngineError: the GPU failed.
        """


class HostSampler:
    """`Sampler` over OpenCV, on one thread.

    Args:
        engines: by name; their inputs are arrays of this process.
    """

    def __init__(self, engines: Mapping[str, Engine], width_px: int, height_px: int) -> None:
        self._letterbox: Letterbox | None = None
        if "detector" in engines:
            self._letterbox = Letterbox(width_px, height_px, _array(engines["detector"]))
        sides = [engine.input.shape[3] for name, engine in engines.items() if name != "detector"]
        self._chips: Chips | None = None
        if sides:
            self._chips = Chips(width_px, height_px, max(sides))
            shape = (max(sides), max(sides))
            self._laplacian = memory.allocate("chips.laplacian", shape, np.float32)

    def letterbox(self, frame: Frame, engine: Engine) -> None:
        assert self._letterbox
        self._letterbox(_pixels(frame))

    def cut(
        self, frame: Frame, landmarks: NDArray[np.float32], engine: Engine, row: int, view: View
    ) -> None:
        assert self._chips
        self._chips.cut(_pixels(frame), landmarks, _array(engine)[row], view)

    def contrast(self) -> tuple[float, float]:
        assert self._chips
        plane = self._chips.green
        laplacian = self._laplacian[: plane.shape[0], : plane.shape[1]]
        cv2.Laplacian(plane, cv2.CV_32F, dst=laplacian)
        return float(laplacian.std()), float(plane.std())


def _pixels(frame: Frame) -> NDArray[np.uint8]:
    if frame.image:
        raise EngineError(
            "the camera leaves its frames on the GPU, and the engines run on the processor",
            remedy='set [models] runtime = "tensorrt", or name a camera such as /dev/video0',
        )
    return frame.pixels


def _array(engine: Engine) -> NDArray[np.float32]:
    assert isinstance(engine.input, np.ndarray), "a GPU's engine needs the GPU's sampler"
    return engine.input
