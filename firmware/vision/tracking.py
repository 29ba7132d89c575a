"""Faces followed from frame to frame: a constant-velocity model and two-stage association."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from firmware.settings import Tracking
from firmware.vision import memory
from firmware.vision.assignment import Assignment
from firmware.vision.detection import MOST_FACES, Detections
from firmware.vision.motion import Motion

MOST_TRACKS = 64
"""Faces followed at once; a new face beyond that waits until a place is free."""

_MEASURED, _MEASURED_WEAK = 0.1, 0.2
"""Standard deviation of the place of a strong and of a weak detection, in face heights."""
_LIMIT = 22.0
"""Negative log-likelihood (times two) above which it is somebody else."""


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
        self._motion = Motion(rows)
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
            rows = [track.row for track in self.tracks]
            self._boxes[rows] = self._motion.predict(rows, (at_ns - self._at_ns) / 1e9)
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
        self._boxes[track.row] = 0
        self._landmarks[track.row] = 0
        self._motion.forget(track.row)
        self._free.append(track.row)

    # ---- association ---------------------------------------------------------------------------

    def _associate(
        self, tracks: list[Track], faces: list[int], detections: Detections, measured: float
    ) -> tuple[list[Track], list[int]]:
        """Pair tracks with detections; returns what is left of both."""
        if not tracks or not faces:
            return tracks, faces
        cost = self._motion.unlikeliness(
            [track.row for track in tracks],
            self._seen[faces],
            np.array([self._away_s(track) for track in tracks], np.float32),
            measured,
        )
        made = self._assignment.pairs(cost, _LIMIT)
        for t, f in made:
            self._sight(tracks[t], faces[f], detections, measured)
        paired_tracks, paired_faces = {t for t, _ in made}, {f for _, f in made}
        return (
            [track for t, track in enumerate(tracks) if t not in paired_tracks],
            [face for f, face in enumerate(faces) if f not in paired_faces],
        )

    def _sight(self, track: Track, face: int, detections: Detections, measured: float) -> None:
        self._motion.correct(track.row, self._seen[face], measured)
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
        self._motion.begin(row, self._seen[face], _MEASURED)
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
        return self._away_s(track) > rules.max_lost_s

    def _away_s(self, track: Track) -> float:
        return (self._at_ns - track.last_seen_ns) / 1e9
