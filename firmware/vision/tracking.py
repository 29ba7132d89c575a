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
# heights each second. Across it starts, stops and turns by a few m/s²; upright it goes up and down
# with the steps, which is much quicker. These values and the limit gave the fewest wrong counts on
# scripted and random scenes at 25, 12 and 8 frames a second: 6 of 231 visits in random scenes too
# many or too few and 5 identity switches in 57 scripted ones, instead of 18 and 10 with one
# acceleration of 40 for both.
_MEASURED = 0.1
_MEASURED_WEAK = 0.2
_ACCELERATIONS_PER_S2 = np.array((10.0, 30.0), np.float32)
_AXIS = [0, 1, 0, 0]
"""Which of across and upright goes with centre x, centre y, width and height."""
_FIRST_SPEED_PER_S = 6.0
_WIDEST = 1.2
"""Standard deviation of a lost face's place beyond which knowing less changes nothing."""
_SIZE_CHANGE = 0.25
"""Standard deviation of ln(height seen ÷ height expected)."""
_LIMIT = 22.0
"""Negative log-likelihood (times two, in face heights) above which it is somebody else."""

# Who turned round where it could not be seen comes back where it was lost, at the same height and
# size. It takes a while, but the longer it takes the likelier it is somebody who follows.
_TURN_S = 0.4
_TURNED_SPREAD = np.array((1.2, 0.3), np.float32)
_TURNED_SIZE = 0.12
_TURNED_PRICE, _TURNED_PRICE_PER_S = 14.0, 8.0


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
        # Of centre x, centre y, width and height: place, speed, and where it was seen last. Across
        # and upright: variance of place, covariance, variance of speed, in heights and seconds.
        self._place = memory.allocate("tracker.place", (rows, 4), np.float32, lasting=True)
        self._speed = memory.allocate("tracker.speed", (rows, 4), np.float32, lasting=True)
        self._doubt = memory.allocate("tracker.doubt", (rows, 2, 3), np.float32, lasting=True)
        self._last = memory.allocate("tracker.last", (rows, 4), np.float32, lasting=True)
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
        for buffer in (
            self._boxes,
            self._landmarks,
            self._place,
            self._speed,
            self._doubt,
            self._last,
        ):
            buffer[track.row] = 0
        self._free.append(track.row)

    # ---- motion --------------------------------------------------------------------------------

    def _predict(self, elapsed_s: float) -> None:
        rows = [track.row for track in self.tracks]
        # A face that goes behind something shrinks, and would be a point when it comes out again.
        self._speed[[track.row for track in self.tracks if track.state is State.LOST], 2:] = 0
        self._place[rows] += self._speed[rows] * elapsed_s
        self._place[rows, 2:] = np.maximum(self._place[rows, 2:], 1.0)
        doubt = self._doubt[rows]
        # Piecewise constant acceleration: Bar-Shalom, Estimation with Applications, 6.3.2.
        noise = np.square(_ACCELERATIONS_PER_S2 * elapsed_s)
        doubt[..., 0] += 2 * elapsed_s * doubt[..., 1] + elapsed_s**2 * (doubt[..., 2] + noise / 4)
        doubt[..., 1] += elapsed_s * (doubt[..., 2] + noise / 2)
        doubt[..., 2] += noise
        self._doubt[rows] = doubt
        self._boxes[rows, :2] = self._place[rows, :2] - self._place[rows, 2:] / 2
        self._boxes[rows, 2:] = self._place[rows, :2] + self._place[rows, 2:] / 2

    def _correct(self, row: int, seen: NDArray[np.float32], measured: float) -> None:
        doubt = self._doubt[row]
        total = doubt[:, 0] + measured**2
        to_place, to_speed = doubt[:, 0] / total, doubt[:, 1] / total
        difference = seen - self._place[row]
        self._place[row] += difference * to_place[_AXIS]
        self._speed[row] += difference * to_speed[_AXIS]
        doubt[:, 0] -= to_place * to_place * total
        doubt[:, 1] -= to_place * to_speed * total
        doubt[:, 2] -= to_speed * to_speed * total

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
        variance = np.minimum(self._doubt[rows, None, :, 0], _WIDEST**2) + measured**2
        apart, growth = self._from(self._place[rows], faces)
        cost = (apart**2 / variance + np.log(variance / measured**2)).sum(axis=2)
        cost += (growth / _SIZE_CHANGE) ** 2
        away_s = np.array([self._away_s(track) for track in tracks], np.float32)[:, None]
        if away_s.max() > _TURN_S:
            apart, growth = self._from(self._last[rows], faces)
            turned = ((apart / _TURNED_SPREAD) ** 2).sum(axis=2) + (growth / _TURNED_SIZE) ** 2
            turned += _TURNED_PRICE + _TURNED_PRICE_PER_S * away_s
            np.minimum(cost, turned, out=cost, where=away_s > _TURN_S)
        return np.asarray(cost, np.float32)

    def _from(
        self, places: NDArray[np.float32], faces: list[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How far each detection is from each place (N, M, 2), in heights, and the logarithm of
        how much taller it is (N, M)."""
        place, seen = places[:, None], self._seen[faces][None]
        apart = (seen[:, :, :2] - place[:, :, :2]) / place[:, :, 3:]
        return apart, np.log(seen[:, :, 3] / place[:, :, 3])

    def _sight(self, track: Track, face: int, detections: Detections, measured: float) -> None:
        self._correct(track.row, self._seen[face], measured)
        self._last[track.row] = self._seen[face]
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
        self._doubt[row] = (_MEASURED**2, 0, _FIRST_SPEED_PER_S**2)  # across and upright
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
