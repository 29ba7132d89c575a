"""Geometry of boxes as (x1, y1, x2, y2) in pixels, f32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""Shape (N, 4)."""


def overlaps(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Intersection over union of every box of `a` with every box of `b`.

    Args:
        a: (N, 4).
        b: (M, 4).

    Returns: (N, M) in 0 … 1.
    """
    near = np.maximum(a[:, None, :2], b[None, :, :2])
    far = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.maximum(far - near, 0.0).prod(axis=2)
    union = areas(a)[:, None] + areas(b)[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-6), np.float32)


def areas(boxes: Boxes) -> NDArray[np.float32]:
    """(N,) square pixels; an inverted box has none."""
    return np.asarray(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1), np.float32)


def distinct(boxes: Boxes, overlap: float, most: int) -> list[int]:
    """Non-maximum suppression.

    Args:
        boxes: (N, 4), best first.
        overlap: a box that shares more than this with a better one is the same face.
        most: stop after so many.

    Returns: indices of the boxes that stay, best first.
    """
    doubles = overlaps(boxes, boxes) > overlap
    kept: list[int] = []
    for index in range(len(boxes)):
        if len(kept) < most and not doubles[index, kept].any():
            kept.append(index)
    return kept
