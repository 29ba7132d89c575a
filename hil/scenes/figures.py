"""One visitor at one moment, drawn as a layer: legs, coat, arms and a head from a portrait."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hil.scenes import portraits
from hil.scenes.script import Visitor
from hil.scenes.stage import Layer, View

_ADULT_M = 1.74
_CROWN_M = 0.125
"""From the middle between the eyes to the top of the head."""
_STEP_M = 0.75
_CORNER_S = 0.5
"""Time that a walker takes to change speed or direction."""
_INSTANT_S = 0.02
_MARGIN_M = 0.55
"""Half the width of a visitor's layer."""


class Pose(NamedTuple):
    """A visitor at one moment. Positions in metres, the floor's origin under the camera."""

    x_m: float
    z_m: float
    eyes_m: float
    """Height of the eyes above the floor."""
    speed_x_m_s: float
    speed_m_s: float
    stride: float
    """Phase of the walk, in radians."""
    yaw_deg: float
    scale: float
    """Size of the head beside an adult's."""


def pose(visitor: Visitor, at_s: float) -> Pose | None:
    """Where a visitor is, or None before it comes and after it has left."""
    if not visitor.path[0][0] <= at_s <= visitor.path[-1][0]:
        return None
    x, z, walked = _way(visitor, at_s)
    x_before, _, walked_before = _way(visitor, at_s - _INSTANT_S)
    speed_x = (x - x_before) / _INSTANT_S
    speed = (walked - walked_before) / _INSTANT_S
    times, angles = zip(*visitor.turn or ((0.0, 0.0),), strict=True)
    yaw = float(np.interp(at_s, times, angles))
    scale = 0.75 + 0.25 * min(1.0, visitor.height_m / _ADULT_M)
    bob = visitor.bob_m * math.sin(2 * math.pi * visitor.bob_hz * at_s) * min(1.0, speed / 0.5)
    eyes = visitor.height_m - _CROWN_M * scale + bob
    return Pose(x, z, eyes, speed_x, speed, math.pi * walked / _STEP_M, yaw, scale)


def _way(visitor: Visitor, at_s: float) -> tuple[float, float, float]:
    """x, z and metres walked, with the corners of the path rounded as a walker takes them: the
    mean over `_CORNER_S`, and straight on beyond its ends."""
    when = at_s + np.linspace(-_CORNER_S / 2, _CORNER_S / 2, 17)
    times, xs, zs = (np.array(column) for column in zip(*visitor.path, strict=True))
    walked = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(xs), np.diff(zs)))))
    leg = np.clip(np.searchsorted(times, when, side="right") - 1, 0, len(times) - 2)
    share = (when - times[leg]) / (times[leg + 1] - times[leg])
    x, z, way = (
        float(np.mean(values[leg] + share * (values[leg + 1] - values[leg])))
        for values in (xs, zs, walked)
    )
    return x, max(z, 0.3), way


def face_box(visitor: Visitor, at: Pose, view: View) -> tuple[float, float, float, float]:
    """The face as (x0, y0, x1, y1) in pixels, whether it is in the picture or not."""
    x0, y0, x1, y1 = portraits.head(visitor.portrait).face_m
    if visitor.mirror:
        x0, x1 = -x1, -x0
    aside = 0.5 * (x1 - x0) * math.sin(math.radians(at.yaw_deg))
    column, row = view.point(at.x_m, at.eyes_m, at.z_m)
    scale = view.px_per_m(at.z_m) * at.scale
    return (
        max(column + (x0 + aside) * scale, column - 0.095 * scale),
        row + y0 * scale,
        min(column + (x1 + aside) * scale, column + 0.095 * scale),
        row + y1 * scale,
    )


def draw(visitor: Visitor, at: Pose, view: View, shutter_s: float) -> Layer:
    """The visitor as a layer, blurred along its way as far as it goes while the shutter is open."""
    scale = view.px_per_m(at.z_m)
    left, top = view.point(at.x_m - _MARGIN_M, at.eyes_m + 0.28, at.z_m)
    _, floor = view.point(at.x_m, 0, at.z_m)
    origin = (math.floor(left), math.floor(top))
    bottom = min(view.height_px, math.ceil(floor) + 4)
    size = (max(8, math.ceil(2 * _MARGIN_M * scale) + 2), max(8, bottom - origin[1]))
    pixels = np.zeros((size[1], size[0], 4), np.uint8)
    centre = view.point(at.x_m, 0, at.z_m)
    foot = (centre[0] - origin[0], centre[1] - origin[1])
    _body(pixels, visitor, at, foot, scale)
    _head(pixels, visitor, at, foot, scale)
    smear = abs(at.speed_x_m_s) * scale * shutter_s
    if smear >= 1.5:
        cv2.blur(pixels, (round(smear), 1), dst=pixels, borderType=cv2.BORDER_CONSTANT)
    return Layer(*origin, pixels)


def _body(
    pixels: NDArray[np.uint8], visitor: Visitor, at: Pose, foot: tuple[float, float], scale: float
) -> None:
    """Shapes in metres from the middle of the feet, right and up."""
    red, green, blue = (int(visitor.coat[i : i + 2], 16) for i in (1, 3, 5))
    coat = np.array((blue, green, red), float)
    tall = at.eyes_m
    neck, hip, broad = tall - 0.168 * at.scale, 0.53 * tall, 0.19 * tall / 1.62
    swing = math.sin(at.stride) * min(1.0, at.speed_m_s)

    def shape(points: list[tuple[float, float]], colour: NDArray[np.float64]) -> None:
        corners = np.array([(foot[0] + x * scale, foot[1] - y * scale) for x, y in points])
        bgr = (*(float(c) for c in np.clip(colour, 0, 255)), 255.0)
        cv2.fillPoly(pixels, [(corners * 16).astype(np.int32)], bgr, lineType=cv2.LINE_AA, shift=4)

    def limb(
        start: tuple[float, float],
        end: tuple[float, float],
        width: float,
        colour: NDArray[np.float64],
    ) -> None:
        a, b = (
            (round((foot[0] + x * scale) * 16), round((foot[1] - y * scale) * 16))
            for x, y in (start, end)
        )
        bgr = (*(float(c) for c in np.clip(colour, 0, 255)), 255.0)
        cv2.line(pixels, a, b, bgr, max(1, round(width * scale)), cv2.LINE_AA, shift=4)

    trousers, shoes, skin = coat * 0.55 + 8, np.full(3, 28.0), _skin(visitor)
    for side in (-1, 1):
        step = side * swing * 0.16
        knee, ankle = (side * 0.09 + step * 0.5, 0.28 * tall), (side * 0.085 + step, 0.05)
        limb((side * 0.09, hip), knee, 0.15, trousers * (0.9 if side * swing > 0 else 1.1))
        limb(knee, ankle, 0.12, trousers * (0.9 if side * swing > 0 else 1.1))
        limb(ankle, (side * 0.1 + step, 0.035), 0.1, shoes)
        hand = (side * (broad + 0.01) + 0.07 * swing, hip - 0.03)
        elbow = (side * (broad + 0.035), (neck + hip) / 2)
        limb(elbow, hand, 0.07, coat * 0.82)
        limb(hand, (hand[0], hand[1] - 0.05), 0.055, skin)
        limb((side * (broad - 0.02), neck - 0.10), elbow, 0.095, coat * 0.86)
    throat = 0.055 * at.scale
    limb((0, neck + 0.08), (0, neck - 0.02), 2 * throat, skin * 0.8)
    shape(
        [(-0.06, neck + 0.02), (-broad + 0.04, neck - 0.05), (-broad, neck - 0.11),
         (-broad + 0.05, hip + 0.1), (-broad + 0.03, hip - 0.07), (broad - 0.03, hip - 0.07),
         (broad - 0.05, hip + 0.1), (broad, neck - 0.11), (broad - 0.04, neck - 0.05),
         (0.06, neck + 0.02)], coat)  # fmt: skip
    shape([(0.1, neck - 0.1), (broad - 0.03, neck - 0.1), (broad - 0.06, hip + 0.08),
           (broad - 0.05, hip - 0.07), (0.07, hip - 0.07)], coat * 0.9)  # fmt: skip
    shape([(-0.07, neck + 0.02), (0.07, neck + 0.02), (0.0, neck - 0.27)], np.full(3, 222.0))
    shape([(-throat, neck + 0.03), (throat, neck + 0.03), (0.0, neck - 0.09)], skin * 0.85)
    shape([(-0.075, neck + 0.02), (-0.1, neck - 0.02), (-0.03, neck - 0.24), (0, neck - 0.28)],
          coat * 1.18)  # fmt: skip
    shape([(0.075, neck + 0.02), (0.1, neck - 0.02), (0.03, neck - 0.24), (0, neck - 0.28)],
          coat * 1.08)  # fmt: skip
    limb((0, neck - 0.28), (0, hip - 0.05), 0.008, coat * 0.6)
    soften = max(0.5, 0.004 * scale)
    cv2.GaussianBlur(pixels, (0, 0), soften, dst=pixels)


@functools.lru_cache(maxsize=64)
def _tinted(name: str, mirror: bool, warmth: float) -> tuple[NDArray[np.uint8], ...]:
    """A variant of a head, all its sizes."""
    gain = np.array((1 - 0.25 * warmth, 1 - 0.04 * abs(warmth), 1 + 0.15 * warmth))
    levels = []
    for level in portraits.head(name).levels:
        variant = level[:, ::-1].copy() if mirror else level.copy()
        variant[..., :3] = np.clip(variant[..., :3] * gain, 0, 255)
        levels.append(variant)
    return tuple(levels)


@functools.lru_cache(maxsize=64)
def _skin(visitor: Visitor) -> NDArray[np.float64]:
    """The colour of the face, as the median below the eyes."""
    level = _tinted(visitor.portrait, visitor.mirror, visitor.warmth)[2]
    row, column = (np.array(portraits.EYES_M[::-1]) * portraits.HEAD_PX_PER_M / 4).astype(int)
    cheeks = level[row + 8 : row + 34, column - 14 : column + 14, :3]
    return np.asarray(np.median(cheeks.reshape(-1, 3), axis=0), float)


def _head(
    pixels: NDArray[np.uint8], visitor: Visitor, at: Pose, foot: tuple[float, float], scale: float
) -> None:
    levels = _tinted(visitor.portrait, visitor.mirror, visitor.warmth)
    shrink = scale * at.scale / portraits.HEAD_PX_PER_M
    size = 0
    while size + 1 < len(levels) and shrink <= 0.5:
        shrink, size = shrink * 2, size + 1
    level = levels[size]
    if at.yaw_deg:
        level = portraits.turned(level, at.yaw_deg)
    px_per_m = portraits.HEAD_PX_PER_M / 2**size
    tilt = math.radians(2.0 * math.sin(at.stride) * min(1.0, at.speed_m_s))
    cosine, sine = shrink * math.cos(tilt), shrink * math.sin(tilt)
    eyes = np.array(portraits.EYES_M)
    if visitor.mirror:
        eyes[0] = level.shape[1] / px_per_m - eyes[0]
    eye_x, eye_y = eyes * px_per_m
    matrix = np.array(
        [
            [cosine, -sine, foot[0] - cosine * eye_x + sine * eye_y],
            [sine, cosine, foot[1] - at.eyes_m * scale - sine * eye_x - cosine * eye_y],
        ]
    )
    reach = math.ceil(0.3 * scale)
    left, top = max(0, round(foot[0]) - reach), 0
    right, bottom = round(foot[0]) + reach, math.ceil(foot[1] - (at.eyes_m - 0.28) * scale)
    under = pixels[top : max(bottom, 0), left:right]
    if not under.size:
        return
    matrix[0, 2] -= left
    drawn = cv2.warpAffine(level, matrix, (under.shape[1], under.shape[0]))
    cover = cv2.cvtColor(drawn[..., 3], cv2.COLOR_GRAY2BGRA)
    cover[..., 3] = drawn[..., 3]
    drawn[..., 3] = 255
    over = cv2.multiply(drawn, cover, scale=1 / 255)
    cv2.add(cv2.multiply(under, 255 - cover, scale=1 / 255), over, dst=under)
