"""When a visitor counts, for how long it stayed, and how long it looked at the sensor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from firmware.settings import Interactions as Rules
from firmware.vision import memory, pose
from firmware.vision.tracking import MOST_TRACKS, Track

_STEP_MS = 100
_LONGEST_MS = 24 * 3600 * 1000  # the record's limit: what stays longer is a poster

_DWELL_NS, _ATTENTION_NS, _PREVIOUS_NS, _LARGEST_PX = range(4)


class Stay(NamedTuple):
    """What was counted about one visitor.

    Attributes:
        came_ns: when it was first seen, in frame time.
        dwell_ms, attention_ms: in steps of 100 ms; attention is never longer than dwell.
    """

    came_ns: int
    dwell_ms: int
    attention_ms: int


class Interactions:
    """Counts time for each track, in frame time only: the wall clock may jump as it likes.

    Time between two sightings counts when the visitor was in the zone at both; so a short
    occlusion counts, and time after the last sighting does not.
    """

    def __init__(self, width_px: int, height_px: int) -> None:
        self._frame_px = (width_px, height_px)
        self._counts = memory.allocate(
            "interactions.counts", (MOST_TRACKS, 4), np.int64, lasting=True
        )

    def observe(self, tracks: list[Track], at_ns: int, rules: Rules) -> None:
        """Take in where the tracks are in the frame taken at `at_ns`."""
        for track in tracks:
            if track.last_seen_ns != at_ns:
                continue
            counts = self._counts[track.row]
            if track.sightings == 1:
                counts.fill(0)
            x1, y1, x2, y2 = track.box.tolist()
            counts[_LARGEST_PX] = max(counts[_LARGEST_PX], x2 - x1, y2 - y1)
            width, height = self._frame_px
            if rules.zone and not _inside(
                (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, rules.zone
            ):
                counts[_PREVIOUS_NS] = 0
                continue
            if counts[_PREVIOUS_NS]:
                passed_ns = at_ns - counts[_PREVIOUS_NS]
                counts[_DWELL_NS] += passed_ns
                counts[_ATTENTION_NS] += passed_ns * pose.facing(track.landmarks)
            counts[_PREVIOUS_NS] = at_ns

    def close(self, track: Track, rules: Rules) -> Stay | None:
        """The track's stay, or None when it was too short or too small to count."""
        dwell_ns, attention_ns, _, largest_px = self._counts[track.row].tolist()
        if dwell_ns < rules.minimum_dwell_s * 1e9 or largest_px < rules.minimum_face_px:
            return None
        return Stay(track.first_seen_ns, _rounded_ms(dwell_ns), _rounded_ms(attention_ns))

    def forget(self, track: Track) -> None:
        """Zero what was counted about a track."""
        self._counts[track.row] = 0


def _rounded_ms(duration_ns: int) -> int:
    return min(round(duration_ns / 1e6 / _STEP_MS) * _STEP_MS, _LONGEST_MS)


def _inside(x: float, y: float, polygon: tuple[tuple[float, float], ...]) -> bool:
    """Even-odd rule: a ray to the right crosses the polygon's edges an odd number of times."""
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside
