"""Single pictures through the sensor's own path: detector, face chips, attribute networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.drivers import onnx_engine
from firmware.drivers.onnx_engine import OnnxEngine
from firmware.settings import Settings
from firmware.vision import memory, models
from firmware.vision.attributes import Attributes
from firmware.vision.detection import Detections, Detector
from firmware.vision.engine import Engine
from firmware.vision.frames import Frame
from firmware.vision.models import Model
from firmware.vision.pipeline import BUFFERS
from firmware.vision.sampling import HostSampler, Sampler
from hil.accuracy.labelled import read

FRAME_PX = (640, 360)
"""Frame in whose middle a face crop is shown: of the shape of the sensor's own, 16:9."""
_GREY = 128

Opener = Callable[[Path, Sequence[Model]], tuple[Mapping[str, Engine], Sampler]]
"""Loads engines and what fills their inputs from frames of `FRAME_PX`."""


def on_cpu(folder: Path, chosen: Sequence[Model]) -> tuple[Mapping[str, Engine], Sampler]:
    """ONNX Runtime's engines of the models in `folder`."""
    engines = onnx_engine.load(folder, *chosen)
    return engines, HostSampler(engines, *FRAME_PX)


def detect(
    paths: Sequence[Path], folder: Path, settings: Settings, score: float
) -> Iterator[tuple[Path, Detections]]:
    """Faces of whole pictures of any size, each through the detector that fits its shape.

    Yields: each path with its faces, which are views that the next turn overwrites. Pictures of
    like shape come together, so that few detectors are loaded.
    """
    pictures = sorted(((path, read(path)) for path in paths), key=lambda each: _ratio(each[1]))
    rules, engine = settings.detection, None
    try:
        for path, picture in pictures:
            height, width = picture.shape[:2]
            model = models.find_detector(folder, width_px=rules.width_px, frame_px=(width, height))
            if engine is None or engine.model != model:
                if engine:
                    engine.close()
                engine = OnnxEngine(folder, model)
            sampler = HostSampler({"detector": engine}, width, height)
            detector = Detector(engine, sampler, width, height)
            yield path, detector.detect(Frame(picture), score, rules.overlap)
            memory.release("detector")
    finally:
        memory.release("detector")
        if engine:
            engine.close()


class Visitor:
    """The detector and the attribute networks on pictures of one face."""

    def __init__(self, folder: Path, settings: Settings, opener: Opener = on_cpu) -> None:
        width, height = FRAME_PX
        self._rules = settings.detection
        self._engines, sampler = opener(folder, models.chosen(folder, settings, FRAME_PX))
        self._frame = Frame(memory.allocate("frame.pixels", (height, width, 3), np.uint8))
        self._detector = Detector(self._engines["detector"], sampler, width, height)
        self._attributes = Attributes(self._engines, sampler, width, height)

    def look(self, crop: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]] | None:
        """What the networks answer (a row of `Attributes.answers`) about the face in the middle.

        Args:
            crop: u8 (h, w, 3) BGR; a larger one than the frame is made to fit.

        Returns: None when the detector sees no face there.
        """
        fit = min(FRAME_PX[0] / crop.shape[1], FRAME_PX[1] / crop.shape[0], 1.0)
        if fit < 1:
            crop = np.asarray(cv2.resize(crop, None, fx=fit, fy=fit, interpolation=cv2.INTER_AREA))
        height, width = crop.shape[:2]
        top, left = (FRAME_PX[1] - height) // 2, (FRAME_PX[0] - width) // 2
        self._frame.pixels.fill(_GREY)
        self._frame.pixels[top : top + height, left : left + width] = crop
        rules = self._rules
        faces = self._detector.detect(self._frame, rules.score, rules.overlap)
        x, y = FRAME_PX[0] / 2, FRAME_PX[1] / 2
        for (x1, y1, x2, y2), landmarks in zip(faces.boxes_xyxy, faces.landmarks, strict=True):
            if x1 < x < x2 and y1 < y < y2:
                self._attributes.look(self._frame, [landmarks])
                return {name: given[0] for name, given in self._attributes.answers.items()}
        return None

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        for owner in BUFFERS:
            memory.release(owner)


def _ratio(picture: NDArray[np.uint8]) -> float:
    height, width = picture.shape[:2]
    return float(height / width)
