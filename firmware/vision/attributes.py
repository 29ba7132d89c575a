"""Gender, age and expression of each visitor, voted over its best crops.

A crop is looked at in the turn in which it was taken and never kept: what a track carries are sums
of weighted votes. So the first crop is taken soon, because a visitor may leave, and the others as
the face comes nearer or after growing intervals, so that a long stay is covered to its end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from firmware.record import AgeCategory, AgeEstimate, ExpressionEstimate, GenderEstimate
from firmware.settings import Attributes as Rules
from firmware.vision import memory, pose, votes
from firmware.vision.crops import View
from firmware.vision.engine import Engine
from firmware.vision.frames import Frame
from firmware.vision.sampling import Sampler
from firmware.vision.tracking import MOST_TRACKS, State, Track

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

MOST_FACES = 16
"""Faces that are looked at in one frame at most: the limit of `[attributes] faces_per_frame`."""
_LEAST_WEIGHT = 0.05
"""Votes that weigh less than this together say nothing."""


class Attributes:
    """Estimates attributes of confirmed tracks with the engines that were loaded.

    Attributes:
        answers: what the last `look` gave, f32, a row for each of its faces: `age` (N, 2) years
            and deviation, `gender` (N, 2), `expression` (N, 7); of the loaded engines only.
    """

    def __init__(
        self, engines: Mapping[str, Engine], sampler: Sampler, width_px: int, height_px: int
    ) -> None:
        self._engines = {name: engines[name] for name in VIEWS if name in engines}
        self._sampler = sampler
        self._frame_px = (width_px, height_px)
        self._sharpness = memory.allocate("attributes.sharpness", (MOST_FACES,), np.float32)
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
            name: memory.allocate(
                f"attributes.{name}_answer", (MOST_FACES, sums.shape[1]), np.float32
            )
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
        if worth:
            self._add(frame, worth[: rules.faces_per_frame])

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

    # ---- looking -------------------------------------------------------------------------------

    def _add(self, frame: Frame, faces: list[tuple[float, Track]]) -> None:
        """Ask about some faces, and add the answers to their votes, weighted by quality."""
        sharpness = self.look(frame, [track.landmarks for _, track in faces])
        for number, (quality, track) in enumerate(faces):
            row = track.row
            self._taken[row] += 1
            self._taken_at_ns[row] = track.last_seen_ns
            self._best[row] = max(self._best[row], quality)
            weight = quality * float(sharpness[number]) + 1e-3
            for name, answers in self.answers.items():
                answer = answers[number]
                if name == "age":
                    answer[1] **= 2
                np.multiply(answer, weight, out=answer)
                self._sums[name][row] += answer
            self._weight[row] += weight

    def look(self, frame: Frame, faces: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Ask every network about some faces: `answers` then holds the mean over a face's views.

        The views of all the faces go through an engine together, as many at a time as it takes.

        Args:
            faces: landmarks of at most 16, each f32 (5, 2) in the order of `Detections.landmarks`.

        Returns: f32 (N,), the sharpness of each face's first view, 0 … 1; a view that the next
            call overwrites.

        Raises:
            EngineError: an engine failed.
        """
        first, *_ = self._engines
        for name, engine in self._engines.items():
            views, answers = VIEWS[name], self.answers[name]
            answers.fill(0)
            wanted = [(number, view) for number in range(len(faces)) for view in views]
            batch = engine.input.shape[0]
            for start in range(0, len(wanted), batch):
                part = wanted[start : start + batch]
                for row, (number, view) in enumerate(part):
                    self._sampler.cut(frame, faces[number], engine, row, view)
                    if name == first and view is views[0]:
                        self._sharpness[number] = _sharpness(*self._sampler.contrast())
                engine.run(len(part))
                for (number, _), given in zip(part, engine.outputs[0], strict=False):
                    answers[number] += given
            answers /= len(views)
        return self._sharpness[: len(faces)]


def _sharpness(detail: float, contrast: float) -> float:
    """0 … 1, from the deviation of a chip's Laplacian and that of the chip."""
    return min(max((detail / max(contrast, 1.0) - _BLURRED) / (_SHARP - _BLURRED), 0.0), 1.0)
