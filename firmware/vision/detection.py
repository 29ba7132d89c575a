"""From a frame to faces: CenterFace, decoding of its heads, suppression of doubles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware.vision import boxes, memory
from firmware.vision.engine import Engine
from firmware.vision.frames import Frame
from firmware.vision.letterbox import scale_of
from firmware.vision.sampling import Sampler

MOST_FACES = 64
"""Faces that one frame can give; the weakest beyond that are dropped."""

_CANDIDATES = 256
"""Cells of the heat map that are looked at; a face takes one to a dozen."""
_STRIDE = 4


class Detections:
    """Faces of one frame, best first; views into buffers that the next frame overwrites.

    Attributes:
        boxes_xyxy: f32 (N, 4), pixels of the frame; may reach over its edge.
        landmarks: f32 (N, 5, 2), pixels: the eye at the picture's left, the eye at its right,
            nose tip, mouth corner at the left, mouth corner at the right.
        scores: f32 (N,), 0 … 1.
    """

    __slots__ = ("boxes_xyxy", "landmarks", "scores")

    def __init__(
        self,
        boxes_xyxy: NDArray[np.float32],
        landmarks: NDArray[np.float32],
        scores: NDArray[np.float32],
    ) -> None:
        self.boxes_xyxy = boxes_xyxy
        self.landmarks = landmarks
        self.scores = scores

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"Detections({len(self)})"


class Detector:
    """CenterFace (Xu et al. 2019, arXiv:1911.03599) on frames of one size.

    Its heads at a quarter of the input's resolution: heat map (1, 1, h, w), log of height and
    width in strides (1, 2, h, w), offset of the centre y then x (1, 2, h, w), and five landmarks
    y then x as fractions of the box (1, 10, h, w).
    """

    def __init__(self, engine: Engine, sampler: Sampler, width_px: int, height_px: int) -> None:
        self._engine = engine
        self._sampler = sampler
        rows, columns = engine.input.shape[2:]
        self._unit = 1 / scale_of(width_px, height_px, columns, rows)
        heat, *heads = engine.outputs
        self._columns = heat.shape[3]
        self._heat = heat.reshape(-1)
        self._heads = [head[0].reshape(head.shape[1], -1) for head in heads]
        self._hot = memory.allocate("detector.hot", self._heat.shape, np.bool_)
        self._scores = memory.allocate("detector.scores", (_CANDIDATES,), np.float32)
        self._boxes = memory.allocate("detector.boxes", (_CANDIDATES, 4), np.float32)
        self._found = Detections(
            memory.allocate("detector.found_boxes", (MOST_FACES, 4), np.float32),
            memory.allocate("detector.found_landmarks", (MOST_FACES, 5, 2), np.float32),
            memory.allocate("detector.found_scores", (MOST_FACES,), np.float32),
        )

    def detect(self, frame: Frame, score: float, overlap: float) -> Detections:
        """Faces with at least `score`, none sharing more than `overlap` with a better one.

        Args:
            frame: of the size given at construction.

        Raises:
            EngineError: the engine failed.
        """
        self._sampler.letterbox(frame, self._engine)
        self._engine.run()
        np.greater_equal(self._heat, score, out=self._hot)
        places = np.flatnonzero(self._hot)
        places = places[np.argsort(-self._heat[places], kind="stable")[:_CANDIDATES]]
        return self._decode(places, overlap)

    def _decode(self, places: NDArray[np.intp], overlap: float) -> Detections:
        sizes, offsets, marks = self._heads
        count, unit = len(places), self._unit
        row, column = np.divmod(places, self._columns)
        size = np.exp(sizes[:, places]) * (_STRIDE * unit)
        centre = (offsets[:, places] + (row, column) + 0.5) * (_STRIDE * unit)
        corner = centre - size / 2
        candidates = self._boxes[:count]
        candidates[:, :2] = corner[::-1].T
        candidates[:, 2:] = (corner + size)[::-1].T
        kept = boxes.distinct(candidates, overlap, MOST_FACES)
        found, number = self._found, len(kept)
        np.take(candidates, kept, axis=0, out=found.boxes_xyxy[:number])
        np.take(self._heat, places[kept], out=found.scores[:number])
        # (10, n) as y, x for each mark → (n, 5, 2) as x, y
        inside = marks[:, places[kept]].reshape(5, 2, number)
        points = inside * size[:, kept] + corner[:, kept]
        found.landmarks[:number] = points[:, ::-1].transpose(2, 0, 1)
        return Detections(
            found.boxes_xyxy[:number], found.landmarks[:number], found.scores[:number]
        )
