"""Average precision of the detector by face size, and false positives where nobody is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.settings import Settings
from firmware.vision import boxes
from hil.accuracy.labelled import Box
from hil.accuracy.stills import detect

SIZES_PX = (12, 20, 32)
_LOWEST_SCORE = 0.05
"""Detections down to this score draw the precision-recall curve."""
_SAME = 0.5
"""Intersection over union from which a detection is the labelled face."""


def figures(
    crowds: Mapping[Path, Sequence[Box]],
    empty: Sequence[Path],
    folder: Path,
    settings: Settings,
    step: Callable[[], None],
) -> tuple[dict[str, float], list[dict[str, Any]], list[Path]]:
    """Figures, groups by size, and the pictures without people in which a face was seen."""
    judged: dict[int, list[tuple[float, bool]]] = {size: [] for size in SIZES_PX}
    for path, found in detect(list(crowds), folder, settings, _LOWEST_SCORE):
        labelled = crowds[path]
        truth = np.array([(b.x, b.y, b.x + b.width, b.y + b.height) for b in labelled], np.float32)
        real_px = np.array([box.real_px for box in labelled])
        shared = boxes.overlaps(found.boxes_xyxy, truth)
        for size, judgements in judged.items():
            judgements.extend(matched(shared, found.scores, real_px >= size))
        step()
    seen: list[Path] = []
    for path, found in detect(empty, folder, settings, settings.detection.score):
        seen += [path] * len(found)
        step()
    summary: dict[str, float] = {}
    groups = []
    for size, judgements in judged.items():
        count = sum(box.real_px >= size for labelled in crowds.values() for box in labelled)
        precision, recall = operating_point(judgements, count, settings.detection.score)
        summary[f"ap_{size}px"] = average_precision(judgements, count)
        groups.append(
            {"of": "detection", "by": "face_px", "group": f">={size}", "count": count}
            | {"ap": summary[f"ap_{size}px"], "precision": precision, "recall": recall}
        )
    summary["false_positives_per_image"] = len(seen) / len(empty)
    return summary, groups, seen


def matched(
    shared: NDArray[np.float32], scores: NDArray[np.float32], counted: NDArray[np.bool_]
) -> list[tuple[float, bool]]:
    """Score and rightness of each detection of one picture.

    A detection takes the best free face among those that are counted; one that lies on a face
    which is not counted is neither right nor wrong, any other is wrong, however small it is.

    Args:
        shared: (N, M) intersection over union of detections, best first, with labelled faces.
        scores: (N,).
        counted: (M,) whether a face is of the size that is claimed.
    """
    free = counted.copy()
    judgements: list[tuple[float, bool]] = []
    for row, score in zip(shared, scores.tolist(), strict=True):
        candidates = np.where(free, row, 0.0)
        best = int(candidates.argmax()) if candidates.size else 0
        if candidates.size and candidates[best] >= _SAME:
            free[best] = False
            judgements.append((score, True))
        elif not (row[~counted] >= _SAME).any():
            judgements.append((score, False))
    return judgements


def average_precision(judgements: Sequence[tuple[float, bool]], count: int) -> float:
    """Area under the precision-recall curve, precision made to fall (PASCAL VOC 2010)."""
    if not judgements or not count:
        return 0.0
    right = np.array([r for _, r in sorted(judgements, key=lambda j: -j[0])])
    hits = right.cumsum()
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * right).sum() / count)


def operating_point(
    judgements: Sequence[tuple[float, bool]], count: int, score: float
) -> tuple[float, float]:
    """Precision and recall of the detections from `score` on."""
    kept = [right for given, right in judgements if given >= score]
    return sum(kept) / max(len(kept), 1), sum(kept) / max(count, 1)
