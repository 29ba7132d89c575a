"""One turn of the loop: from a frame to the interactions that ended with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from firmware import clock
from firmware.record import Interaction
from firmware.settings import Settings
from firmware.vision import memory
from firmware.vision.attributes import Attributes
from firmware.vision.detection import Detector
from firmware.vision.engine import Engine
from firmware.vision.frames import Frame
from firmware.vision.interactions import Interactions
from firmware.vision.sampling import HostSampler, Sampler
from firmware.vision.tracking import Track, Tracker

BUFFERS = (
    "frame",
    "detector",
    "tracker",
    "assignment",
    "chips",
    "attributes",
    "interactions",
)
"""Owners of the buffers that a pipeline allocates; there is one pipeline in a process."""


class Pipeline:
    """Detector, tracker, attributes and interaction rules over one frame buffer.

    Args:
        settings: rules; `settings` may be replaced while it runs by what a twin may change.
        engines: by name; `detector` and, where attributes are wanted, `age`, `gender` and
            `expression`. The pipeline does not close them.
        model_set: names the models in every record.
        frame_px: width and height of the frames.
        wall_s: the wall clock, Unix seconds.
        sampler: fills the engines' inputs; None: OpenCV does, for engines on the processor.

    Attributes:
        frame: filled by the source before each `turn`.
        tracks: the faces followed now, tentative ones included.
        parted: whether somebody has left with the last `turn`, counted or not.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Mapping[str, Engine],
        *,
        model_set: str,
        frame_px: tuple[int, int],
        wall_s: Callable[[], float] = time.time,
        sampler: Sampler | None = None,
    ) -> None:
        width_px, height_px = frame_px
        self.settings = settings
        self.engines = engines
        self.frame = Frame(memory.allocate("frame.pixels", (height_px, width_px, 3), np.uint8))
        sampler = sampler or HostSampler(engines, width_px, height_px)
        self.detector = Detector(engines["detector"], sampler, width_px, height_px)
        self.tracker = Tracker()
        self.attributes = Attributes(engines, sampler, width_px, height_px)
        self.interactions = Interactions(width_px, height_px)
        self.parted = False
        self._model_set = model_set
        self._wall_s = wall_s

    @property
    def tracks(self) -> list[Track]:
        return self.tracker.tracks

    def turn(self) -> list[Interaction]:
        """See what is in `frame`; returns the interactions of visitors who have now left.

        Raises:
            EngineError: an engine failed.
        """
        frame, rules = self.frame, self.settings
        faces = self.detector.detect(frame, rules.detection.score, rules.detection.overlap)
        ended = self.tracker.update(faces, frame.captured_at_ns, rules.tracking)
        self.parted = bool(ended)
        self.interactions.observe(self.tracks, frame.captured_at_ns, rules.interactions)
        self.attributes.estimate(frame, self.tracks, rules.attributes)
        return self._close(ended, frame.captured_at_ns)

    def finish(self, at_ns: int = 0) -> list[Interaction]:
        """End every interaction that is open, at `at_ns` or at the last frame's time."""
        return self._close(self.tracker.reset(), at_ns or self.frame.captured_at_ns)

    def close(self) -> None:
        """Wipe and give the buffers back."""
        for owner in BUFFERS:
            memory.release(owner)

    def _close(self, ended: list[Track], at_ns: int) -> list[Interaction]:
        records = [self._record(track, at_ns) for track in ended]
        for track in ended:
            self._forget(track)
        return [record for record in records if record]

    def _record(self, track: Track, at_ns: int) -> Interaction | None:
        stay = self.interactions.close(track, self.settings.interactions)
        if stay is None:
            return None
        came_s = self._wall_s() - (at_ns - stay.came_ns) / 1e9
        rounding_s = self.settings.privacy.time_rounding_s
        gender, age, expression = self.attributes.vote(track)
        return Interaction(
            start_utc_s=int(came_s // rounding_s * rounding_s),
            clock_synchronised=clock.synchronised(),
            dwell_ms=stay.dwell_ms,
            attention_ms=stay.attention_ms,
            gender=gender,
            age=age,
            expression=expression,
            model_set=self._model_set,
        )

    def _forget(self, track: Track) -> None:
        """The end of an interaction: nothing of this visitor stays in any buffer of tracks."""
        self.interactions.forget(track)
        self.attributes.forget(track)
        self.tracker.forget(track)
