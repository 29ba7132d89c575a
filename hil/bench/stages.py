"""Where the time of a frame goes: the product's own pipeline, with a clock around each stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from firmware.settings import Settings
from firmware.vision.frames import FrameSource
from firmware.vision.tracking import State
from hil.scenes.evaluation import pipeline_over

WARM = 10
"""Frames at the beginning that are left out: they fill caches."""


class Turns:
    """Milliseconds of every frame.

    Attributes:
        stages: stage → one value a frame. `read` is the source's own work (a clip's decoder),
            `turn` all of vision's; `detect`, `track` and `attributes` are its parts, and
            `engines` the time inside the inference runtime, wherever in a turn it fell.
        faces: confirmed faces in view, one value a frame.
    """

    def __init__(self) -> None:
        self.stages: dict[str, list[float]] = defaultdict(list)
        self.faces: list[int] = []

    def over(self, *stages: str) -> float:
        """Sum over all frames and the named stages."""
        return sum(sum(self.stages[stage][WARM:]) for stage in stages)

    def percentiles(self, stage: str) -> dict[str, float]:
        values = self.stages[stage][WARM:]
        return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95)}

    def turns_with(self, faces: int) -> list[float]:
        """Times of the turns in which just so many faces were in view."""
        pairs = zip(self.stages["turn"][WARM:], self.faces[WARM:], strict=True)
        return [turn for turn, seen in pairs if seen == faces]


def measure(source: FrameSource) -> Turns:
    """Run the pipeline over a source, as fast as the machine can, on one thread.

    Raises:
        SensorError: the source or an engine failed, or models are missing.
    """
    cv2.setNumThreads(1)
    turns = Turns()
    spent: dict[str, float] = defaultdict(float)
    with pipeline_over(source, Settings()) as pipeline:
        for stage, owner, name in (
            ("detect", pipeline.detector, "detect"),
            ("track", pipeline.tracker, "update"),
            ("attributes", pipeline.attributes, "estimate"),
            *(("engines", engine, "run") for engine in pipeline.engines.values()),
        ):
            setattr(owner, name, _timed(getattr(owner, name), stage, spent))
        read = _timed(source.read, "read", spent)
        turn = _timed(pipeline.turn, "turn", spent)
        while read(pipeline.frame):
            turn()
            for stage, seconds in spent.items():
                turns.stages[stage].append(seconds * 1e3)
                spent[stage] = 0.0
            turns.faces.append(sum(track.state is State.CONFIRMED for track in pipeline.tracks))
    source.close()
    return turns


def _timed(work: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    spent[stage] = 0.0

    def clocked(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return work(*given, **named)
        finally:
            spent[stage] += time.perf_counter() - began

    return clocked
