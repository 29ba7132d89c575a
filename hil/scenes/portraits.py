"""Heads of the visitors, cut out of public-domain portraits.

The pictures come with the models (`python -m trt_engines acquire`); this module knows where the
head is in each of them. Every head is brought to one size and stance: eyes level and 63 mm apart,
the mean of adults (Dodgson 2004, "Variation and extrema of human interpupillary distance").
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.errors import EngineError
from trt_engines.acquire import portrait

EYE_DISTANCE_M = 0.063
HEAD_PX_PER_M = 1400.0
"""Resolution of the cut-out heads; a visitor nearer than about 0.7 m would look soft."""
_SIZE_M = (0.36, 0.40)
EYES_M = (0.18, 0.17)
"""Where the middle between the eyes lies in a cut-out, from its left and upper edge."""
LEVELS = 4
"""Sizes of each head: full, half, quarter and eighth, so that far heads are not jagged."""


class Head(NamedTuple):
    """One head at `LEVELS` sizes.

    Attributes:
        levels: u8 (H, W, 4) BGR with coverage; colours reach beyond the outline, so that blurring
            and turning never draw the portrait's background in.
        chin_m, face_m: the chin, and the face (left, top, right, bottom) without hair and ears,
            both from the middle between the eyes, right and down positive, in metres.
    """

    levels: tuple[NDArray[np.uint8], ...]
    chin_m: float
    face_m: tuple[float, float, float, float]


class _Cut(NamedTuple):
    """Positions in the portrait, in its own pixels."""

    eyes: tuple[tuple[int, int], tuple[int, int]]
    face: tuple[int, int, int, int]
    outline: tuple[tuple[int, int], ...]


# fmt: off
_CUTS = {
    "astronaut": _Cut(
        eyes=((201, 101), (245, 104)),
        face=(181, 72, 268, 177),
        outline=(
            (182, 131), (170, 117), (160, 106), (155, 92), (153, 75), (156, 58), (167, 46),
            (185, 36), (200, 25), (218, 17), (235, 15), (252, 20), (268, 28), (283, 40), (292, 55),
            (296, 70), (299, 88), (297, 100), (290, 113), (280, 126), (270, 136), (264, 137),
            (262, 150), (256, 165), (253, 186), (235, 189), (215, 188), (195, 184), (187, 178),
            (184, 165), (183, 145),
        ),
    ),
    "grace_hopper": _Cut(
        eyes=((220, 188), (302, 188)),
        face=(172, 120, 352, 332),
        outline=(
            (150, 100), (161, 86), (173, 84), (186, 64), (216, 42), (229, 32), (264, 22),
            (293, 29), (304, 42), (334, 57), (351, 84), (361, 86), (369, 100), (370, 136),
            (368, 168), (372, 191), (370, 223), (363, 248), (357, 273), (345, 295), (332, 300),
            (327, 313), (320, 345), (289, 377), (248, 377), (211, 345), (205, 318), (195, 304),
            (175, 291), (161, 273), (159, 245), (155, 213), (153, 191), (161, 168), (150, 145),
        ),
    ),
    "obama": _Cut(
        eyes=((446, 213), (548, 212)),
        face=(372, 95, 612, 429),
        outline=(
            (359, 179), (348, 197), (336, 217), (340, 250), (354, 283), (367, 298), (381, 283),
            (389, 326), (400, 364), (405, 397), (432, 429), (465, 458), (479, 459), (517, 429),
            (555, 402), (579, 370), (593, 337), (601, 296), (614, 298), (624, 288), (631, 255),
            (642, 223), (639, 198), (625, 196), (624, 163), (623, 119), (612, 92), (587, 62),
            (560, 43), (528, 32), (495, 29), (457, 35), (419, 54), (386, 84), (364, 114),
            (356, 141),
        ),
    ),
    "biden": _Cut(
        eyes=((533, 323), (655, 347)),
        face=(425, 165, 705, 572),
        outline=(
            (389, 237), (396, 211), (406, 185), (425, 155), (458, 126), (497, 109), (543, 99),
            (589, 96), (635, 109), (674, 129), (714, 158), (737, 198), (753, 244), (756, 290),
            (743, 342), (720, 375), (717, 428), (704, 467), (689, 480), (681, 513), (658, 543),
            (642, 566), (635, 585), (609, 605), (570, 618), (517, 602), (471, 572), (432, 533),
            (422, 493), (422, 428), (412, 418), (396, 401), (388, 362), (386, 323), (391, 286),
        ),
    ),
}
# fmt: on

NAMES = tuple(_CUTS)


@functools.cache
def head(name: str) -> Head:
    """Cut one head out of its portrait.

    Args:
        name: one of `NAMES`.

    Raises:
        EngineError: the portrait is not in the cache, or is no picture.
    """
    cut = _CUTS[name]
    path = portrait(name)
    picture = cv2.imread(str(path))
    if picture is None:
        raise EngineError(
            f"portrait {path} is not a picture", remedy="run `python -m trt_engines acquire` again"
        )
    outline = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(outline, [np.array(cut.outline)], 255, lineType=cv2.LINE_AA)
    (left, right) = np.array(cut.eyes, float)
    across = right - left
    scale = EYE_DISTANCE_M * HEAD_PX_PER_M / float(np.hypot(*across))
    turn = cv2.getRotationMatrix2D((0, 0), float(np.degrees(np.arctan2(across[1], across[0]))), 1)
    matrix = turn * scale
    middle = matrix[:, :2] @ ((left + right) / 2)
    matrix[:, 2] = np.array(EYES_M) * HEAD_PX_PER_M - middle
    size = (round(_SIZE_M[0] * HEAD_PX_PER_M), round(_SIZE_M[1] * HEAD_PX_PER_M))
    colours = np.asarray(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC), np.uint8)
    inside = cv2.erode(cv2.warpAffine(outline, matrix, size), np.ones((7, 7)))
    coverage = np.asarray(cv2.GaussianBlur(inside, (0, 0), 4), np.uint8)
    levels = [np.dstack([_spread(colours, coverage), coverage])]
    for _ in range(LEVELS - 1):
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.uint8))
    metre = EYE_DISTANCE_M / float(np.hypot(*across))
    eye_x, eye_y = (left + right) / 2
    x0, y0, x1, y1 = cut.face
    face = ((x0 - eye_x) * metre, (y0 - eye_y) * metre, (x1 - eye_x) * metre, (y1 - eye_y) * metre)
    return Head(tuple(levels), face[3], face)


def _spread(colours: NDArray[np.uint8], coverage: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours outside the outline replaced by the nearest ones well inside it."""
    outside = (coverage < 250).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    inside[nearest[outside == 0]] = colours[outside == 0]
    return np.asarray(inside[nearest], np.uint8)


def turned(level: NDArray[np.uint8], yaw_deg: float) -> NDArray[np.uint8]:
    """A head turned about the vertical: each row of it is taken as half a circle.

    Args:
        level: u8 (H, W, 4), one of `Head.levels`.
        yaw_deg: positive turns the face to the right of the picture; at 90 it is gone.

    Returns: u8 (H, W, 4) with the same outline: only what is drawn inside it moves.
    """
    height, width = level.shape[:2]
    covered = level[..., 3] > 127
    rows = np.flatnonzero(covered.any(axis=1))
    first = covered.argmax(axis=1)[rows].astype(np.float32)
    last = (width - 1 - covered[:, ::-1].argmax(axis=1))[rows].astype(np.float32)
    every = np.arange(height, dtype=np.float32)
    centre = np.interp(every, rows, (first + last) / 2).astype(np.float32)[:, None]
    radius = np.interp(every, rows, (last - first) / 2 + 1).astype(np.float32)[:, None]
    across = (np.arange(width, dtype=np.float32)[None] - centre) / radius
    angle = np.arcsin(np.clip(across, -1, 1)) - np.float32(np.radians(yaw_deg))
    from_x = centre + radius * np.sin(np.clip(angle, -np.pi / 2, np.pi / 2))
    from_y = np.broadcast_to(every[:, None], (height, width))
    rotated = cv2.remap(level[..., :3], from_x.astype(np.float32), from_y, cv2.INTER_LINEAR)
    return np.dstack([rotated, level[..., 3]])
