"""What really happens in a scene, known because it was drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from firmware.settings import Settings
from hil.scenes.script import Script

HIDDEN, SEEN = 0.3, 0.65
"""Shares of a face in view below which nobody could see it, and above which everybody should;
in between neither a hit nor a miss is held against the sensor (as MOTChallenge does)."""
_YAW_SEEN_DEG, _YAW_HIDDEN_DEG = 45.0, 65.0
SMALL, LARGE = 1 / 50, 1 / 32
"""Widths of a face as a share of the picture's: what a 448 px wide detector may and must find."""


class Sample(NamedTuple):
    """One visitor's face in one frame.

    Attributes:
        frame: index of the frame.
        who: index of the visitor in the script.
        box: (x0, y0, x1, y1) px.
        in_view: share of the face that is inside the picture and not hidden, 0 … 1.
    """

    frame: int
    who: int
    at_s: float
    box: tuple[float, float, float, float]
    in_view: float
    yaw_deg: float
    distance_m: float
    speed_m_s: float
    light: float

    def must_be_seen(self, width_px: int) -> bool:
        large = self.box[2] - self.box[0] >= LARGE * width_px
        return large and self.in_view >= SEEN and abs(self.yaw_deg) <= _YAW_SEEN_DEG

    def may_be_seen(self, width_px: int) -> bool:
        large = self.box[2] - self.box[0] >= SMALL * width_px
        return large and self.in_view >= HIDDEN and abs(self.yaw_deg) <= _YAW_HIDDEN_DEG


class Stay(NamedTuple):
    """One interaction as it should be counted."""

    who: int
    from_s: float
    to_s: float


def stays(samples: Iterable[Sample], script: Script, settings: Settings) -> list[Stay]:
    """The interactions in a scene.

    A visitor who is gone for longer than `tracking.max_lost_s` and comes back is a new one: the
    sensor keeps nothing to know them by. One who is in view for less than
    `interactions.minimum_dwell_s` is none.
    """
    found: list[Stay] = []
    last: dict[int, int] = {}
    for sample in samples:
        if not sample.must_be_seen(script.camera.width_px):
            continue
        stay = last.get(sample.who)
        if stay is not None and sample.at_s - found[stay].to_s <= settings.tracking.max_lost_s:
            found[stay] = found[stay]._replace(to_s=sample.at_s)
        else:
            last[sample.who] = len(found)
            found.append(Stay(sample.who, sample.at_s, sample.at_s))
    shortest = settings.interactions.minimum_dwell_s
    return [stay for stay in found if stay.to_s - stay.from_s >= shortest]
