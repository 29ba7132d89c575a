"""What the product's own pipeline counts in a scene, beside what is true of it.

Identity metrics by motmetrics: IDF1 (Ristani et al. 2016, arXiv:1609.01775) and identity switches
(CLEAR MOT, Bernardin and Stiefelhagen 2008). A visit is an identity of its own, because the
sensor must not know anybody again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import motmetrics  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from firmware.drivers import onnx_engine
from firmware.drivers.video_file import VideoFile
from firmware.errors import ConfigError
from firmware.record import Interaction
from firmware.settings import Settings
from firmware.vision import boxes, models
from firmware.vision.frames import FrameSource
from firmware.vision.pipeline import Pipeline
from firmware.vision.tracking import State
from hil.scenes.render import Scene
from hil.scenes.script import load
from hil.scenes.source import SceneSource
from hil.scenes.truth import Sample, Stay, stays

_SAME = 0.5
"""Overlap of a track's box with the true face from which it is that face."""

Box = tuple[float, ...]
Track = tuple[int, Box]
"""A confirmed track in one frame: its number and its box."""


class Figures(NamedTuple):
    """One scene's row of the report."""

    name: str
    truth: int
    counted: int
    idf1: float
    switches: int


def evaluate(path: Path) -> Figures:
    """Play one scene through the product's pipeline, as fast as the machine can.

    Raises:
        ConfigError: the scene is none.
        EngineError: models or portraits are missing.
    """
    cv2.setNumThreads(1)
    script, settings = load(path), Settings()
    source = SceneSource(Scene(script))
    frames, interactions = watch(source, settings)
    visits = stays(source.samples, script, settings)
    if len(visits) != script.interactions:
        raise ConfigError(
            f"scene {path}: {len(visits)} interactions take place, not {script.interactions}",
            remedy="correct `interactions`, or the paths and turns",
        )
    idf1, switches = identity(frames, source.samples, visits, script.camera.width_px)
    return Figures(path.stem, len(visits), len(interactions), idf1, switches)


def count(clip: Path) -> tuple[float, list[Interaction]]:
    """What the pipeline counts in a video file, and how many seconds the file lasts.

    Raises:
        CameraError: it is no video.
    """
    source = VideoFile(clip, realtime=False)
    frames, interactions = watch(source, Settings())
    return len(frames) / source.frames_per_s, interactions


def watch(
    source: FrameSource, settings: Settings
) -> tuple[dict[int, list[Track]], list[Interaction]]:
    """Run the pipeline over a source; returns the confirmed tracks of each frame that are seen
    in it, by its index, and the interactions that ended."""
    seen: dict[int, list[Track]] = {}
    interactions: list[Interaction] = []
    with pipeline_over(source, settings) as pipeline:
        frame = pipeline.frame
        while source.read(frame):
            interactions += pipeline.turn()
            seen[frame.index] = [
                (track.track_id, tuple(track.box.tolist()))
                for track in pipeline.tracks
                if track.state is State.CONFIRMED and track.last_seen_ns == frame.captured_at_ns
            ]
        interactions += pipeline.finish()
    source.close()
    return seen, interactions


@contextmanager
def pipeline_over(source: FrameSource, settings: Settings) -> Iterator[Pipeline]:
    """The product's pipeline for a source's frames, for as long as the block runs."""
    folder = models.directory(settings.models.directory)
    size = (source.width_px, source.height_px)
    chosen = models.chosen(folder, settings, size)
    engines = onnx_engine.load(folder, *chosen)
    try:
        pipeline = Pipeline(settings, engines, model_set=models.model_set(chosen), frame_px=size)
        try:
            yield pipeline
        finally:
            pipeline.close()
    finally:
        for engine in engines.values():
            engine.close()


def identity(
    frames: dict[int, list[Track]],
    samples: Iterable[Sample],
    visits: list[Stay],
    width_px: int,
) -> tuple[float, int]:
    """IDF1 and identity switches.

    A face that may but need not be found (small, turned or half hidden) is no truth; a track on
    it is no mistake. With nobody there and nothing tracked, IDF1 is 1.

    Args:
        frames: confirmed tracks by the frame's index.
        samples: the truth, frame after frame.
        visits: the interactions among them.
        width_px: of the picture.
    """
    by_frame: dict[int, list[Sample]] = {index: [] for index in frames}
    for sample in samples:
        by_frame[sample.frame].append(sample)
    events = motmetrics.MOTAccumulator(auto_id=True)
    total = 0
    for index, tracks in sorted(frames.items()):
        required, optional = [], []
        for sample in by_frame[index]:
            visit = _visit(sample, visits)
            if visit is not None and sample.must_be_seen(width_px):
                required.append((visit, sample.box))
            else:
                optional.append(sample.box)
        apart = 1 - _overlaps([box for _, box in required], [box for _, box in tracks])
        near_optional = _overlaps(optional, [box for _, box in tracks])
        kept = [
            column
            for column in range(len(tracks))
            if apart[:, column].min(initial=1) <= 1 - _SAME
            or near_optional[:, column].max(initial=0) < 0.2
        ]
        apart[apart > 1 - _SAME] = np.nan
        numbers = [tracks[column][0] for column in kept]
        events.update([visit for visit, _ in required], numbers, apart[:, kept])
        total += len(required) + len(kept)
    if not total:
        return 1.0, 0
    metrics = motmetrics.metrics.create().compute(events, metrics=["idf1", "num_switches"])
    return round(float(metrics["idf1"].iloc[0]), 4), int(metrics["num_switches"].iloc[0])


def _visit(sample: Sample, visits: list[Stay]) -> int | None:
    """The number of the visit that a sample belongs to."""
    return next(
        (
            number
            for number, visit in enumerate(visits)
            if visit.who == sample.who and visit.from_s <= sample.at_s <= visit.to_s
        ),
        None,
    )


def _overlaps(a: Sequence[Box], b: Sequence[Box]) -> NDArray[np.float64]:
    return boxes.overlaps(
        np.array(a, np.float32).reshape(-1, 4), np.array(b, np.float32).reshape(-1, 4)
    ).astype(np.float64)
