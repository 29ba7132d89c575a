"""Thousands of real interactions in minutes, and whether anything grows with them.

The clip is small and slow in its own time, so that the sensor, which plays it as fast as it can,
spends eight frames on eight visitors: they come together, stay for four frames, and are gone. All
else is as ever: the shipped models, the wipes, the seals, the numbers, the hub.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hil import report
from hil.rigs.parts import Running
from hil.scenes import portraits, stage
from hil.scenes.script import Camera, Portrait

WIDTH_PX, HEIGHT_PX, FRAMES_PER_S = 448, 256, 8
AT_ONCE, _COLUMNS = 8, 4
_SEEN, _GONE = 4, 4
_HEAD_PX = 108
_VISITORS: tuple[Portrait, ...] = ("astronaut", "obama", "biden")
"""The fourth wears a cap, and is not found in every frame of so short a stay."""
SETTINGS: dict[str, dict[str, Any]] = {
    "source": {"realtime": False},
    "tracking": {"max_lost_s": 0.3, "confirm_after": 2},
    "interactions": {"minimum_dwell_s": 0.2},
}
"""Beside the clip's URI: three eighths of a second are a stay, and as many end it."""

WARM = 10000
"""Interactions before the first that is judged: an allocator goes on touching pages for the first
time until the worst moment of a few thousand visitors has been met."""
PARTS = 20
"""What is judged is cut into so many equal parts, each of which gives one point."""
_PAGE_KB = 4.0
"""Resident memory is counted in pages: a point of it is not known better."""
_T_95 = {8: 2.31, 18: 2.10}
"""Degrees of freedom → two-sided 95 % quantile of Student's t."""


class Sample(NamedTuple):
    """One look at the sensor while it works.

    Attributes:
        interactions: that the hub has stored so far.
        frame_ms_p95, frame_cpu_ms_p95: of the newest health record.
        waiting: envelopes in the outbox, likewise.
    """

    interactions: int
    at_s: float
    processes: tuple[Running, ...]
    frame_ms_p95: float
    frame_cpu_ms_p95: float
    waiting: int


class Slope(NamedTuple):
    """Change of a figure per 1,000 interactions: least squares, and its 95 % interval."""

    slope: float
    low: float
    high: float


def clip(groups: int) -> Path:
    """So many times eight visitors; drawn unless it is there."""
    path = report.ROOT / "build" / "hil" / "clips" / f"soak-{groups}.avi"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    size = (WIDTH_PX, HEIGHT_PX)
    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"MJPG"), FRAMES_PER_S, size)
    hall = stage.hall(stage.View.of(Camera(width_px=WIDTH_PX, height_px=HEIGHT_PX)), seed=1)
    heads = [_head(name) for name in _VISITORS]
    rng = np.random.default_rng(1)
    for _ in range(groups):
        places = rng.integers(-6, 7, (AT_ONCE, 2))
        for seen in range(_SEEN):
            picture = hall.copy()
            for number, (right, down) in enumerate(places):
                row, column = divmod(number, _COLUMNS)
                left = 8 + column * 110 + int(right) + 2 * seen
                top = 8 + row * 124 + int(down)
                _put(picture, heads[(number + row) % len(heads)], left, top)
            writer.write(picture)
        for _ in range(_GONE):
            writer.write(hall)
    writer.release()
    partial.replace(path)
    return path


def slope(points: Sequence[tuple[float, float]], known_to: float = 0.0) -> Slope:
    """Least squares through (interactions, value), with the t interval of its residuals, widened by
    how much neighbours are alike: one step is one event, however many points lie behind it
    (Santer et al., J. Geophys. Res. 105 D6, 2000: lag-1 autocorrelation).

    Args:
        points: 10 or 20 means of parts.
        known_to: how well a value can be measured at best; residuals do not count as smaller.
    """
    x, y = np.array(points, float).T
    x = x / 1000
    n = len(x)
    about = x - x.mean()
    per_1000 = float(about @ (y - y.mean()) / (about @ about))
    rest = y - y.mean() - per_1000 * about
    spread = max(math.sqrt(float(rest @ rest) / (n - 2)), known_to)
    alike = max(float(rest[1:] @ rest[:-1]) / float(rest @ rest), 0.0) if rest.any() else 0.0
    error = spread / math.sqrt(float(about @ about)) * math.sqrt((1 + alike) / (1 - alike))
    t = _T_95[n - 2]
    return Slope(round(per_1000, 3), round(per_1000 - t * error, 3), round(per_1000 + t * error, 3))


def parts(
    samples: Sequence[Sample], figure: Callable[[Sample], float]
) -> list[tuple[float, float]]:
    """(interactions, mean) of each part of what is judged."""
    found = []
    for inside in _cut(samples):
        values = [figure(one) for one in inside]
        middle = sum(one.interactions for one in inside) / len(inside)
        found.append((middle, sum(values) / len(values)))
    return found


def _cut(samples: Sequence[Sample]) -> list[list[Sample]]:
    last = samples[-1].interactions
    edges = [WARM + (last - WARM) * part / PARTS for part in range(PARTS + 1)]
    return [
        [one for one in samples if low < one.interactions <= high]
        for low, high in itertools.pairwise(edges)
    ]


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Slopes with their intervals; most files and threads in the first part and in the last.

    Args:
        samples: of a soak that is longer than `WARM`, with some in each part.
    """
    names = sorted({one.name for sample in samples for one in sample.processes})
    whole = [one for one in samples if len(one.processes) == len(names)]
    first, *_, end = _cut(whole)
    return {
        "rss_slope_kb_per_1000": {
            name: slope(parts(whole, functools.partial(_rss_kb, name)), _PAGE_KB)._asdict()
            for name in names
        },
        "rss_kb": {name: _of(whole[-1], name).rss_kb for name in names},
        "files_at_first": {name: max(_of(one, name).files for one in first) for name in names},
        "files": {name: max(_of(one, name).files for one in end) for name in names},
        "threads_at_first": {name: max(_of(one, name).threads for one in first) for name in names},
        "threads": {name: max(_of(one, name).threads for one in end) for name in names},
        "frame_ms_p95": _trend(samples, lambda one: one.frame_ms_p95),
        "frame_cpu_ms_p95": _trend(samples, lambda one: one.frame_cpu_ms_p95),
        "most_waiting": max(one.waiting for one in samples),
    }


def _trend(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> dict[str, float]:
    """Slope per 1,000 interactions, and the means of the first part and of the last."""
    points = parts(samples, figure)
    return {
        **slope(points)._asdict(),
        "first": round(points[0][1], 1),
        "last": round(points[-1][1], 1),
    }


def plain(sample: Sample) -> dict[str, Any]:
    """For a JSON file."""
    processes = {
        one.name: {"rss_kb": one.rss_kb, "files": one.files, "threads": one.threads}
        for one in sample.processes
    }
    return {**sample._asdict(), "processes": processes}


def _rss_kb(name: str, sample: Sample) -> float:
    return _of(sample, name).rss_kb


def _of(sample: Sample, name: str) -> Running:
    return next(one for one in sample.processes if one.name == name)


def _head(name: Portrait) -> NDArray[np.uint8]:
    level = portraits.head(name).levels[0]
    width = round(level.shape[1] * _HEAD_PX / level.shape[0])
    small = cv2.resize(level, (width, _HEAD_PX), interpolation=cv2.INTER_AREA)
    small[..., :3] = small[..., :3] * (small[..., 3:] / 255)
    return np.asarray(small, np.uint8)


def _put(picture: NDArray[np.uint8], head: NDArray[np.uint8], left: int, top: int) -> None:
    stage.put(picture, stage.Layer(left, top, head))
