"""Where faces are expected: constant velocity, with a likelihood for what is seen instead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware.vision import memory

# Lengths are in face heights, so that near and far faces weigh alike: a walking visitor's face at
# 2 m/s moves nine of them each second. Across it starts, stops and turns by a few m/s²; upright it
# goes up and down with the steps, which is much quicker. These values, with the tracker's limit,
# gave the fewest wrong counts on scripted and random scenes at 25, 12 and 8 frames a second: 5 of
# 231 visits in random scenes too many or too few and 5 identity switches in 57 scripted ones,
# instead of 18 and 10 with one acceleration of 40 for both.
_ACCELERATIONS_PER_S2 = np.array((10.0, 30.0), np.float32)
_AXIS = [0, 1, 0, 0]
"""Which of across and upright goes with centre x, centre y, width and height."""
_FIRST_SPEED_PER_S = 6.0
_WIDEST = 1.2
"""Standard deviation of a lost face's place beyond which knowing less changes nothing."""
_SIZE_CHANGE = 0.25
"""Standard deviation of ln(height seen ÷ height expected)."""

# Who turned round where it could not be seen comes back where it was lost, at the same height and
# size. It takes a while, but the longer it takes the likelier it is somebody who follows.
_TURN_S = 0.4
_TURNED_SPREAD = np.array((1.2, 0.3), np.float32)
_TURNED_SIZE = 0.12
_TURNED_PRICE, _TURNED_PRICE_PER_S = 14.0, 8.0


class Motion:
    """Places of faces and what is known about them, in rows that the tracker deals out.

    A place is centre x, centre y, width and height, pixels. `measured` is the standard deviation
    of a detection, in face heights.
    """

    def __init__(self, rows: int) -> None:
        self._place = memory.allocate("tracker.place", (rows, 4), np.float32, lasting=True)
        self._speed = memory.allocate("tracker.speed", (rows, 4), np.float32, lasting=True)
        self._last = memory.allocate("tracker.last", (rows, 4), np.float32, lasting=True)
        # Across and upright: variance of place, covariance, variance of speed.
        self._doubt = memory.allocate("tracker.doubt", (rows, 2, 3), np.float32, lasting=True)

    def begin(self, row: int, seen: NDArray[np.float32], measured: float) -> None:
        """A face whose speed is not known yet."""
        self._place[row] = self._last[row] = seen
        self._speed[row] = 0
        self._doubt[row] = (measured**2, 0, _FIRST_SPEED_PER_S**2)

    def predict(self, rows: list[int], elapsed_s: float) -> NDArray[np.float32]:
        """Let time pass; returns the boxes (N, 4) xyxy that are expected then."""
        place = self._place[rows] + self._speed[rows] * elapsed_s
        np.maximum(place[:, 2:], 1.0, out=place[:, 2:])
        self._place[rows] = place
        doubt = self._doubt[rows]
        # Piecewise constant acceleration: Bar-Shalom, Estimation with Applications, 6.3.2.
        noise = np.square(_ACCELERATIONS_PER_S2 * elapsed_s)
        doubt[..., 0] += 2 * elapsed_s * doubt[..., 1] + elapsed_s**2 * (doubt[..., 2] + noise / 4)
        doubt[..., 1] += elapsed_s * (doubt[..., 2] + noise / 2)
        doubt[..., 2] += noise
        self._doubt[rows] = doubt
        half = place[:, 2:] / 2
        return np.concatenate((place[:, :2] - half, place[:, :2] + half), axis=1)

    def correct(self, row: int, seen: NDArray[np.float32], measured: float) -> None:
        """Take in where the face was seen (Kalman's update)."""
        doubt = self._doubt[row]
        total = doubt[:, 0] + measured**2
        to_place, to_speed = doubt[:, 0] / total, doubt[:, 1] / total
        difference = seen - self._place[row]
        self._place[row] += difference * to_place[_AXIS]
        self._speed[row] += difference * to_speed[_AXIS]
        doubt[:, 0] -= to_place * to_place * total
        doubt[:, 1] -= to_place * to_speed * total
        doubt[:, 2] -= to_speed * to_speed * total
        self._last[row] = seen

    def unlikeliness(
        self,
        rows: list[int],
        seen: NDArray[np.float32],
        away_s: NDArray[np.float32],
        measured: float,
    ) -> NDArray[np.float32]:
        """Twice the negative log-likelihood of each detection under each row's expectation.

        The logarithm keeps a face of which little is known from claiming every detection.

        Args:
            rows: N of them.
            seen: (M, 4) places.
            away_s: (N,) seconds since each row's face was seen.

        Returns: (N, M).
        """
        variance = np.minimum(self._doubt[rows, None, :, 0], _WIDEST**2) + measured**2
        apart, growth = _differences(self._place[rows], seen)
        cost = (apart**2 / variance + np.log(variance / measured**2)).sum(axis=2)
        cost += (growth / _SIZE_CHANGE) ** 2
        if away_s.max() > _TURN_S:
            waited_s = away_s[:, None]
            apart, growth = _differences(self._last[rows], seen)
            turned = ((apart / _TURNED_SPREAD) ** 2).sum(axis=2) + (growth / _TURNED_SIZE) ** 2
            turned += _TURNED_PRICE + _TURNED_PRICE_PER_S * waited_s
            np.minimum(cost, turned, out=cost, where=waited_s > _TURN_S)
        return np.asarray(cost, np.float32)

    def forget(self, row: int) -> None:
        for buffer in (self._place, self._speed, self._last, self._doubt):
            buffer[row] = 0


def _differences(
    places: NDArray[np.float32], seen: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each detection is from each place (N, M, 2), in heights, and the logarithm of how
    much taller it is (N, M)."""
    place = places[:, None]
    apart = (seen[:, :2] - place[:, :, :2]) / place[:, :, 3:]
    return apart, np.log(seen[:, 3] / place[:, :, 3])
