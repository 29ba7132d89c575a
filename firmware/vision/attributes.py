"""Gender, age and expression of each visitor, voted over its best crops.

A crop is looked at in the turn in which it was taken and never kept: what a track carries are sums
of weighted votes. So the first crop is taken soon, because a visitor may leave, and the others as
the face comes nearer or after growing intervals, so that a long stay is covered to its end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.record import AgeCategory, AgeEstimate, ExpressionEstimate, GenderEstimate
from firmware.settings import Attributes as Rules
from firmware.vision import memory, pose, votes
from firmware.vision.crops import Chips
from firmware.vision.engine import Engine
from firmware.vision.frames import Frame
from firmware.vision.tracking import MOST_TRACKS, State, Track


class View(NamedTuple):
    """One way to cut a face out; the answers to all views of a face are averaged.

    Attributes:
        padding: room around dlib's mean face, as a part of its extent.
        mirrored: left and right exchanged.
        lowered: the face stands lower in the chip by this part of its side.
    """

    padding: float
    mirrored: bool = False
    lowered: float = 0.0


VIEWS = {
    "age": (View(0.15, lowered=0.03), View(0.20), View(0.25)),
    "gender": (
        View(0.15),
        View(0.20),
        View(0.20, mirrored=True, lowered=0.03),
        View(0.25, mirrored=True, lowered=0.03),
    ),
    "expression": (
        View(0.15),
        View(0.15, mirrored=True, lowered=0.12),
        View(0.25, lowered=0.12),
    ),
}
"""What each network is shown of one face: see docs/model-cards.md for what each view gained."""

FIRST_WAIT_S = 0.4
"""A visitor's first crop waits so long for a good pose."""
_GROWTH = 1.5
_BETTER = 1.25
"""A crop this much better than the best before is taken at once."""
_FULL_PX = 90.0
"""Height of a face from which more pixels add nothing to a 64 x 64 chip."""
_BLURRED, _SHARP = 0.1, 0.35
"""Deviation of the chip's Laplacian over the chip's: below, an age is a guess; above, blur no
longer shows in the error (measured with blurred and shrunk faces)."""

_LEAST_WEIGHT = 0.05
"""Votes that weigh less than this together say nothing."""


class Attributes:
    """Estimates attributes of confirmed tracks with the engines that were loaded.

    Attributes:
        answers: what the last `look` gave, f32: `age` (2,) years and deviation, `gender` (2,),
            `expression` (7,); of the loaded engines only.
    """

    def __init__(self, engines: Mapping[str, Engine], width_px: int, height_px: int) -> None:
        self._engines = {name: engines[name] for name in VIEWS if name in engines}
        side = max((engine.input.shape[3] for engine in self._engines.values()), default=64)
        self._frame_px = (width_px, height_px)
        self._chips = Chips(width_px, height_px, side)
        self._laplacian = memory.allocate("attributes.laplacian", (side, side), np.float32)
        rows = MOST_TRACKS
        self._taken = memory.allocate("attributes.taken", (rows,), np.int64, lasting=True)
        self._taken_at_ns = memory.allocate(
            "attributes.taken_at_ns", (rows,), np.int64, lasting=True
        )
        self._best = memory.allocate("attributes.best", (rows,), np.float32, lasting=True)
        self._weight = memory.allocate("attributes.weight", (rows,), np.float32, lasting=True)
        # Sums of weight times: age, its variance; female, male; each expression.
        self._sums = {
            "age": memory.allocate("attributes.age", (rows, 2), np.float32, lasting=True),
            "gender": memory.allocate("attributes.gender", (rows, 2), np.float32, lasting=True),
            "expression": memory.allocate(
                "attributes.expression", (rows, 7), np.float32, lasting=True
            ),
        }
        self.answers = {
            name: memory.allocate(f"attributes.{name}_answer", sums.shape[1:], np.float32)
            for name, sums in self._sums.items()
            if name in self._engines
        }

    def estimate(self, frame: Frame, tracks: list[Track], rules: Rules) -> None:
        """Look at the crops of this frame that are worth most, `rules.faces_per_frame` of them.

        Raises:
            EngineError: an engine failed.
        """
        if not self._engines:
            return
        worth = [
            (quality, track)
            for track in tracks
            if (quality := self._quality(track, frame, rules)) > 0 and self._due(track, quality)
        ]
        # Who has fewest crops comes first, then who has the better one.
        worth.sort(key=lambda each: (self._taken[each[1].row], -each[0]))
        for quality, track in worth[: rules.faces_per_frame]:
            self._look(frame, track, quality)

    def vote(self, track: Track) -> tuple[GenderEstimate, AgeEstimate, ExpressionEstimate]:
        """What the crops of an ended track say together. Children get an age category only."""
        row = track.row
        weight = float(self._weight[row])
        if weight < _LEAST_WEIGHT:
            return GenderEstimate(), AgeEstimate(), ExpressionEstimate()
        years, variance = (self._sums["age"][row] / weight).tolist()
        age = votes.age(years, variance)
        if age.category is AgeCategory.CHILD or "gender" not in self._engines:
            return GenderEstimate(), age, ExpressionEstimate()
        gender = votes.gender(float(self._sums["gender"][row, 0]) / weight)
        if "expression" not in self._engines:
            return gender, age, ExpressionEstimate()
        shares = (self._sums["expression"][row] / weight).tolist()
        return gender, age, votes.expression(shares)

    def forget(self, track: Track) -> None:
        """Zero the votes of an ended track."""
        for counts in (self._taken, self._taken_at_ns):
            counts[track.row] = 0
        for sums in (self._best, self._weight, *self._sums.values()):
            sums[track.row] = 0

    # ---- which crops ---------------------------------------------------------------------------

    def _quality(self, track: Track, frame: Frame, rules: Rules) -> float:
        """0 … 1 by size and pose; 0: not to be looked at now."""
        x1, y1, x2, y2 = track.box.tolist()
        if (
            track.state is not State.CONFIRMED
            or self._taken[track.row] >= rules.crops_per_track
            or y2 - y1 < rules.minimum_face_px
            or min(x1, y1) < 0
            or x2 > self._frame_px[0]
            or y2 > self._frame_px[1]
        ):
            return 0.0
        yaw, pitch = pose.angles(track.landmarks)
        frontal = math.cos(math.radians(yaw)) * math.cos(math.radians(pitch))
        return float(min(1.0, (y2 - y1) / _FULL_PX)) * max(0.0, frontal) ** 4

    def _due(self, track: Track, quality: float) -> bool:
        taken = int(self._taken[track.row])
        if taken == 0:
            waited_s = (track.last_seen_ns - track.first_seen_ns) / 1e9
            return quality > 0.5 or waited_s >= FIRST_WAIT_S
        waited_s = (track.last_seen_ns - int(self._taken_at_ns[track.row])) / 1e9
        return quality > _BETTER * self._best[track.row] or waited_s >= (
            FIRST_WAIT_S * _GROWTH ** (taken - 1)
        )

    # ---- looking at one ------------------------------------------------------------------------

    def _look(self, frame: Frame, track: Track, quality: float) -> None:
        row = track.row
        self._taken[row] += 1
        self._taken_at_ns[row] = track.last_seen_ns
        self._best[row] = max(self._best[row], quality)
        weight = quality * self.look(frame.pixels, track.landmarks) + 1e-3
        for name, answer in self.answers.items():
            if name == "age":
                answer[1] **= 2
            np.multiply(answer, weight, out=answer)
            self._sums[name][row] += answer
        self._weight[row] += weight

    def look(self, pixels: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> float:
        """Ask every network about one face: `answers` then holds the mean over its views.

        Args:
            pixels: u8 (H, W, 3) BGR, the frame.
            landmarks: f32 (5, 2), in the order of `Detections.landmarks`.

        Returns: sharpness of the first view, 0 … 1.

        Raises:
            EngineError: an engine failed.
        """
        sharpness = -1.0
        for name, engine in self._engines.items():
            answer, batch = self.answers[name], engine.input.shape[0]
            answer.fill(0)
            for first in range(0, len(VIEWS[name]), batch):
                views = VIEWS[name][first : first + batch]
                for target, view in zip(engine.input, views, strict=False):
                    self._chips.cut(
                        pixels,
                        landmarks,
                        target,
                        padding=view.padding,
                        mirrored=view.mirrored,
                        lowered=view.lowered,
                    )
                if sharpness < 0:
                    sharpness = self._sharpness()
                engine.run()
                for _, given in zip(views, engine.outputs[0], strict=False):
                    answer += given
            answer /= len(VIEWS[name])
        return sharpness

    def _sharpness(self) -> float:
        """0 … 1, of the chip that was cut last."""
        plane = self._chips.green
        laplacian = self._laplacian[: plane.shape[0], : plane.shape[1]]
        cv2.Laplacian(plane, cv2.CV_32F, dst=laplacian)
        detail = float(laplacian.std()) / max(float(plane.std()), 1.0)
        return min(max((detail - _BLURRED) / (_SHARP - _BLURRED), 0.0), 1.0)
