"""Gender, age and expression of each visitor, voted over its best crops."""

from __future__ import annotations

from collections.abc import Mapping

from firmware.record import AgeEstimate, ExpressionEstimate, GenderEstimate
from firmware.settings import Attributes as Rules
from firmware.vision.engine import Engine
from firmware.vision.frames import Frame
from firmware.vision.tracking import Track


class Attributes:
    def __init__(self, engines: Mapping[str, Engine], width_px: int, height_px: int) -> None:
        self._engines = engines

    def estimate(self, frame: Frame, tracks: list[Track], rules: Rules) -> None:
        pass

    def vote(self, track: Track) -> tuple[GenderEstimate, AgeEstimate, ExpressionEstimate]:
        return GenderEstimate(), AgeEstimate(), ExpressionEstimate()

    def forget(self, track: Track) -> None:
        pass
