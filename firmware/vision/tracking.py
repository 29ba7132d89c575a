"""Faces followed from frame to frame: a constant-velocity model and two-stage association."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from firmware.settings import Tracking
from firmware.vision import memory
from firmware.vision.assignment import Assignment
from firmware.vision.detection import MOST_FACES, Detections

MOST_TRACKS = 64
"""Faces followed at once; a new face beyond that waits until a place is free."""

# Motion and measurement, in face heights: a walking visitor's face at 2 m/s moves nine of its
# heights each second, and its head goes up and down by 3.5 cm 2.7 times a second when it runs,
# which is 50 heights/s². These values and the limit gave the fewest wrong counts over 19 scripted
# and 16 random scenes at 25, 12 and 8 frames a second: 19 visits of 372 too many or too few,
# instead of 53 with 8 heights/s² and a limit of 14.
_MEASURED = 0.1
_MEASURED_WEAK = 0.2
_ACCELERATION_PER_S2 = 40.0
_FIRST_SPEED_PER_S = 6.0
_WIDEST = 1.2
"""Standard deviation of a lost face's place beyond which knowing less changes nothing."""
_SIZE_CHANGE = 0.25
"""Standard deviation of ln(height seen ÷ height expected)."""
_LIMIT = 18.0
"""Negative log-likelihood (times two, in face heights) above which it is somebody else."""


class State(Enum):
    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    LOST = "lost"


class Track:
    """One face while it is followed.

    Attributes:
        track_id: counts from 1 since the tracker was made.
        row: its place in the tracker's buffers, free again after `Tracker.forget`.
        state: tentative until seen often enough, lost while it is not seen.
        first_seen_ns, last_seen_ns: frame times.
        sightings: frames in which it was seen.
        box: f32 (4,) xyxy pixels, as last seen or as expected while lost; a view.
        landmarks: f32 (5, 2) pixels, as last seen; a view.
    """

    __slots__ = (
        "box",
        "first_seen_ns",
        "landmarks",
        "last_seen_ns",
        "row",
        "sightings",
        "state",
        "track_id",
    )

    def __init__(
        self,
        track_id: int,
        row: int,
        at_ns: int,
        box: NDArray[np.float32],
        landmarks: NDArray[np.float32],
    ) -> None:
        self.track_id = track_id
        self.row = row
        self.state = State.TENTATIVE
        self.first_seen_ns = self.last_seen_ns = at_ns
        self.sightings = 0
        self.box = box
        self.landmarks = landmarks

    def __repr__(self) -> str:
        return f"Track({self.track_id}, {self.state.value})"


class Tracker:
    """Follows up to `MOST_TRACKS` faces. `update` for each frame, `reset` to end them all.

    Attributes:
        tracks: all that are followed now, oldest first.
    """

    def __init__(self) -> None:
        rows = MOST_TRACKS
        self.tracks: list[Track] = []
        self._free = list(range(rows))[::-1]
        self._last_id = 0
        self._at_ns = 0
        self._boxes = memory.allocate("tracker.boxes", (rows, 4), np.float32, lasting=True)
        self._landmarks = memory.allocate(
            "tracker.landmarks", (rows, 5, 2), np.float32, lasting=True
        )
        # For each of centre x, centre y, width, height: place, speed, and their covariance.
        self._place = memory.allocate("tracker.place", (rows, 4), np.float32, lasting=True)
        self._speed = memory.allocate("tracker.speed", (rows, 4), np.float32, lasting=True)
        self._doubt = memory.allocate("tracker.doubt", (rows, 3), np.float32, lasting=True)
        self._seen = memory.allocate("tracker.seen", (MOST_FACES, 4), np.float32)
        self._assignment = Assignment(max(MOST_TRACKS, MOST_FACES))

    def update(self, detections: Detections, at_ns: int, rules: Tracking) -> list[Track]:
        """Take in one frame's detections.

        Args:
            detections: of the frame taken at `at_ns`, nanoseconds, later than the one before.

        Returns: confirmed tracks that have been lost for longer than `rules.max_lost_s` and
            have ended; the caller forgets each when it has no more use for its row.
        """
        if self.tracks:
            self._predict((at_ns - self._at_ns) / 1e9)
        self._at_ns = at_ns
        seen = self._seen[: len(detections)]
        seen[:, :2] = (detections.boxes_xyxy[:, :2] + detections.boxes_xyxy[:, 2:]) / 2
        seen[:, 2:] = detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]
        strong = int((detections.scores >= rules.high_score).sum())  # best first
        known = [
            track
            for track in self.tracks
            if track.state is not State.TENTATIVE and not self._over(track, rules)
        ]
        tentative = [track for track in self.tracks if track.state is State.TENTATIVE]
        certain, weak = list(range(strong)), list(range(strong, len(detections)))

        known, certain = self._associate(known, certain, detections, _MEASURED)
        recent = [track for track in known if track.state is State.CONFIRMED]
        self._associate(recent, weak, detections, _MEASURED_WEAK)
        _, certain = self._associate(tentative, certain, detections, _MEASURED)
        for index in certain:
            self._begin(index, detections)
        return self._settle(rules)

    def reset(self) -> list[Track]:
        """End all tracks; returns those that were confirmed, for the caller to forget."""
        ended = [track for track in self.tracks if track.state is not State.TENTATIVE]
        for track in self.tracks:
            if track.state is State.TENTATIVE:
                self.forget(track)
        self.tracks = []
        return ended

    def forget(self, track: Track) -> None:
        """Zero what is held about an ended track and free its row."""
        for buffer in (self._boxes, self._landmarks, self._place, self._speed, self._doubt):
            buffer[track.row] = 0
        self._free.append(track.row)

    # ---- motion --------------------------------------------------------------------------------

    def _predict(self, elapsed_s: float) -> None:
        rows = [track.row for track in self.tracks]
        self._place[rows] += self._speed[rows] * elapsed_s
        self._place[rows, 2:] = np.maximum(self._place[rows, 2:], 1.0)
        doubt = self._doubt[rows]
        # Piecewise constant acceleration: Bar-Shalom, Estimation with Applications, 6.3.2.
        noise = (_ACCELERATION_PER_S2 * elapsed_s) ** 2
        doubt[:, 0] += 2 * elapsed_s * doubt[:, 1] + elapsed_s**2 * (doubt[:, 2] + noise / 4)
        doubt[:, 1] += elapsed_s * (doubt[:, 2] + noise / 2)
        doubt[:, 2] += noise
        self._doubt[rows] = doubt
        self._boxes[rows, :2] = self._place[rows, :2] - self._place[rows, 2:] / 2
        self._boxes[rows, 2:] = self._place[rows, :2] + self._place[rows, 2:] / 2

    def _correct(self, row: int, seen: NDArray[np.float32], measured: float) -> None:
        place, cross, speed = self._doubt[row]
        total = place + measured**2
        difference = seen - self._place[row]
        self._place[row] += difference * (place / total)
        self._speed[row] += difference * (cross / total)
        self._doubt[row] = (
            place - place * place / total,
            cross - place * cross / total,
            speed - cross * cross / total,
        )

    # ---- association ---------------------------------------------------------------------------

    def _associate(
        self, tracks: list[Track], faces: list[int], detections: Detections, measured: float
    ) -> tuple[list[Track], list[int]]:
        """Pair tracks with detections; returns what is left of both."""
        if not tracks or not faces:
            return tracks, faces
        made = self._assignment.pairs(self._cost(tracks, faces, measured), _LIMIT)
        for t, f in made:
            self._sight(tracks[t], faces[f], detections, measured)
        paired_tracks, paired_faces = {t for t, _ in made}, {f for _, f in made}
        return (
            [track for t, track in enumerate(tracks) if t not in paired_tracks],
            [face for f, face in enumerate(faces) if f not in paired_faces],
        )

    def _cost(self, tracks: list[Track], faces: list[int], measured: float) -> NDArray[np.float32]:
        """Twice the negative log-likelihood of each detection under each track's expectation.

        Lengths are in heights of the expected face, so that near and far faces weigh alike. The
        logarithm keeps a track that knows little of its place from claiming every face.
        """
        rows = [track.row for track in tracks]
        expected, seen = self._place[rows][:, None], self._seen[faces][None]
        variance = np.minimum(self._doubt[rows, :1], _WIDEST**2) + measured**2
        away = (seen[:, :, :2] - expected[:, :, :2]) / expected[:, :, 3:]
        size = np.log(seen[:, :, 3] / expected[:, :, 3]) / _SIZE_CHANGE
        cost = (away**2).sum(axis=2) / variance + size**2 + 2 * np.log(variance / measured**2)
        return np.asarray(cost, np.float32)

    def _sight(self, track: Track, face: int, detections: Detections, measured: float) -> None:
        self._correct(track.row, self._seen[face], measured)
        self._boxes[track.row] = detections.boxes_xyxy[face]
        self._landmarks[track.row] = detections.landmarks[face]
        track.last_seen_ns = self._at_ns
        track.sightings += 1

    def _begin(self, face: int, detections: Detections) -> None:
        if not self._free:
            return
        row = self._free.pop()
        self._last_id += 1
        track = Track(self._last_id, row, self._at_ns, self._boxes[row], self._landmarks[row])
        self._place[row] = self._seen[face]
        self._speed[row] = 0
        self._doubt[row] = (_MEASURED**2, 0, _FIRST_SPEED_PER_S**2)
        self._sight(track, face, detections, _MEASURED)
        self.tracks.append(track)

    def _settle(self, rules: Tracking) -> list[Track]:
        """Move every track to its next state; returns the confirmed ones that have ended."""
        ended, staying = [], []
        for track in self.tracks:
            lost_ns = self._at_ns - track.last_seen_ns
            if track.state is State.TENTATIVE:
                if lost_ns:
                    self.forget(track)
                    continue
                if track.sightings >= rules.confirm_after:
                    track.state = State.CONFIRMED
            elif self._over(track, rules):
                ended.append(track)
                continue
            else:
                track.state = State.LOST if lost_ns else State.CONFIRMED
            staying.append(track)
        self.tracks = staying
        return ended

    def _over(self, track: Track, rules: Tracking) -> bool:
        return self._at_ns - track.last_seen_ns > rules.max_lost_s * 1e9
