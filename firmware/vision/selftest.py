"""The self-test: a short form of the proof (hil/traces), by the vision process on itself.

A drawn face goes through the very pipeline that visitors go through. What it leaves in each
registered buffer is indexed, all memory of the process is searched for it, everything is wiped as
after any visitor, and memory is searched again. What was found before shows that the search sees;
what is found after is a trace. Not in it: the decoder and the activations inside an engine, whose
values no process can compute of itself; the proof looks for these.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec
import numpy as np

from firmware.settings import Attributes, Detection, Interactions, Settings, Tracking
from firmware.vision import canary, memory, wiping
from firmware.vision.frames import FrameSource
from firmware.vision.needles import Needles
from firmware.vision.pipeline import Pipeline

TURNS = 4
"""As many as confirm a track, and one in which its face has been looked at."""
_TURN_NS = 200_000_000
_NOT_FOLLOWED = np.int64, np.bool_
"""Times and flags: the same whoever is seen, or too few values to tell."""


class Outcome(NamedTuple):
    """What the search found.

    Attributes:
        hits: needles met after the wipe.
        found, wanted: buffers whose content was met before the wipe, and how many there are.
        took_ms: all of it, during which no camera is read.
    """

    hits: int
    found: int
    wanted: int
    took_ms: int

    @property
    def passed(self) -> bool:
        """Nothing remains, and the search would have seen what remains."""
        return not self.hits and 0 < self.wanted == self.found


def run(pipeline: Pipeline, source: FrameSource) -> Outcome | None:
    """Test this process; nobody may be in view. None when the search library was not built.

    No record is made of the canary, and the pipeline is left as it is found.

    Raises:
        EngineError: an engine failed.
    """
    if not Needles.available():
        return None
    assert not pipeline.tracks
    started_ns = time.monotonic_ns()
    needles = Needles()
    rules, pipeline.settings = pipeline.settings, _rules(pipeline.settings)
    try:
        wanted = _show(pipeline, needles)
        found = wanted & needles.found().keys()
    finally:
        pipeline.finish()
        pipeline.settings = rules
        wiping.everything(pipeline.engines, source)
    hits = sum(needles.found().values())
    took_ms = (time.monotonic_ns() - started_ns) // 1_000_000
    return Outcome(hits, len(found), len(wanted), took_ms)


def _show(pipeline: Pipeline, needles: Needles) -> set[str]:
    """Let the canary be seen and followed; returns the buffers that it is in."""
    frame = pipeline.frame
    frame.image = None  # a picture that the camera has left on the GPU
    canary.draw(frame.pixels)
    for _ in range(TURNS):
        frame.captured_at_ns += _TURN_NS
        pipeline.turn()
    for track in pipeline.tracks:
        for values in (track.box, track.landmarks):
            needles.add("numbers", values.astype(np.float64))
    wanted = {
        name
        for name, values in memory.buffers()
        if values.dtype not in _NOT_FOLLOWED and needles.add(name, values)
    }
    # The last wipe has zeroed what every network answers.
    seen = pipeline.tracks and all(each.outputs[0].any() for each in pipeline.engines.values())
    return wanted if seen else wanted | {"a face that was not seen"}


def _rules(current: Settings) -> Settings:
    """Rules under which the canary is seen, whatever the twin has set."""
    return msgspec.structs.replace(
        current,
        detection=Detection(width_px=current.detection.width_px, score=0.3),
        tracking=Tracking(high_score=0.3, confirm_after=TURNS - 1),
        attributes=Attributes(),
        interactions=Interactions(),
    )
