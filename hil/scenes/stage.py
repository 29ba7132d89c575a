"""The place: a pinhole camera in an entrance hall, and pillars that hide visitors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hil.scenes.script import Camera, Pillar

HORIZON = 0.42
"""Height of the horizon in the picture: the lens is shifted, so that upright lines stay so."""
_WALL_M = 9.0
_CEILING_M = 3.6


class View(NamedTuple):
    """A pinhole camera: metres in the hall to pixels in the picture."""

    width_px: int
    height_px: int
    focal_px: float
    camera_m: float

    @classmethod
    def of(cls, camera: Camera) -> View:
        focal = camera.width_px / 2 / math.tan(math.radians(camera.field_of_view_deg) / 2)
        return cls(camera.width_px, camera.height_px, focal, camera.height_m)

    def px_per_m(self, z_m: float) -> float:
        return self.focal_px / z_m

    def point(self, x_m: float, y_m: float, z_m: float) -> tuple[float, float]:
        """Right, up from the floor and away from the camera → column and row."""
        scale = self.focal_px / z_m
        row = HORIZON * self.height_px - (y_m - self.camera_m) * scale
        return self.width_px / 2 + x_m * scale, row


class Layer(NamedTuple):
    """Something to be put into the picture, with its upper left corner there.

    Attributes:
        pixels: u8 (h, w, 4), BGR already multiplied by the coverage in the fourth channel.
    """

    left: int
    top: int
    pixels: NDArray[np.uint8]


def hall(view: View, seed: int) -> NDArray[np.uint8]:
    """An empty entrance hall as u8 (H, W, 3): wall, glass door, lamps, tiles, two plants."""
    rng = np.random.default_rng(seed)
    picture = np.full((view.height_px, view.width_px, 3), (176, 186, 190), np.uint8)
    far = _WALL_M

    def area(points: Sequence[tuple[float, float, float]], bgr: tuple[int, int, int]) -> None:
        corners = np.array([view.point(*point) for point in points])
        cv2.fillPoly(picture, [(corners * 16).astype(np.int32)], bgr, lineType=cv2.LINE_AA, shift=4)

    near = 0.4
    area([(-30, _CEILING_M, far), (30, _CEILING_M, far), (30, _CEILING_M, near),
          (-30, _CEILING_M, near)], (214, 216, 216))  # fmt: skip
    area([(-30, 0, far), (30, 0, far), (30, 0, near), (-30, 0, near)], (128, 134, 138))
    for index, x in enumerate(np.arange(-12.0, 12.0, 0.8)):
        for z in np.arange(1.0 + 0.8 * (index % 2), far, 1.6):
            tile = [(x, 0, z), (x + 0.8, 0, z), (x + 0.8, 0, z + 0.8), (x, 0, z + 0.8)]
            area(tile, (139, 145, 149))
    area([(-1.6, 0, far), (1.6, 0, far), (1.6, 2.4, far), (-1.6, 2.4, far)], (90, 92, 92))
    for side in (-1.5, 0.06):
        pane = [(side, 0.1, far), (side + 1.44, 0.1, far)]
        area([*pane, (side + 1.44, 2.3, far), (side, 2.3, far)], (226, 220, 205))
        area([*pane, (side + 1.44, 0.9, far), (side, 0.7, far)], (170, 190, 178))
    for x in (-4.0, -2.0, 0.0, 2.0, 4.0):
        lamp = _CEILING_M - 0.01
        area([(x - 0.5, lamp, 6.5), (x + 0.5, lamp, 6.5), (x + 0.5, lamp, 5.9),
              (x - 0.5, lamp, 5.9)], (250, 252, 252))  # fmt: skip
    for x in (-2.9, 2.9):
        area([(x - 0.25, 0, far - 1), (x + 0.25, 0, far - 1), (x + 0.32, 0.6, far - 1),
              (x - 0.32, 0.6, far - 1)], (80, 88, 110))  # fmt: skip
        for _ in range(60):
            angle, length = rng.uniform(-1.2, 1.2), rng.uniform(0.4, 1.1)
            tip = (x + length * math.sin(angle), 0.6 + length * math.cos(angle), far - 1)
            green = (60 + int(rng.integers(40)), 95 + int(rng.integers(60)), 62)
            area([(x - 0.04, 0.6, far - 1), tip, (x + 0.04, 0.6, far - 1)], green)
    grain = cv2.GaussianBlur(rng.normal(0, 14, picture.shape[:2]).astype(np.float32), (0, 0), 3)
    shade = np.linspace(1.06, 0.9, view.height_px, dtype=np.float32)[:, None] + grain / 128
    soft = cv2.GaussianBlur(picture, (0, 0), 1.2).astype(np.float32)
    return np.clip(soft * shade[..., None], 0, 255).astype(np.uint8)


def pillar(view: View, what: Pillar) -> Layer:
    """A round pillar that stands on the floor."""
    left, top = view.point(what.x_m - what.width_m / 2, what.height_m, what.z_m)
    right, bottom = view.point(what.x_m + what.width_m / 2, 0, what.z_m)
    top, bottom = max(top, 0), min(bottom, view.height_px)
    width, height = max(1, round(right - left)), max(1, round(bottom - top))
    around = np.linspace(-1, 1, width)
    shade = 150 + 60 * np.sqrt(1 - around**2) - 25 * around
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[..., :3] = shade[None, :, None].astype(np.uint8)
    pixels[..., 3] = 255
    return Layer(round(left), round(top), pixels)


def put(picture: NDArray[np.uint8], layer: Layer) -> None:
    """Put a layer into the picture, in place; parts outside are cut off."""
    height, width = picture.shape[:2]
    h, w = layer.pixels.shape[:2]
    x0, y0 = max(layer.left, 0), max(layer.top, 0)
    x1, y1 = min(layer.left + w, width), min(layer.top + h, height)
    if x0 >= x1 or y0 >= y1:
        return
    part = layer.pixels[y0 - layer.top : y1 - layer.top, x0 - layer.left : x1 - layer.left]
    under = picture[y0:y1, x0:x1]
    through = cv2.cvtColor(255 - part[..., 3], cv2.COLOR_GRAY2BGR)
    under[:] = cv2.add(cv2.multiply(under, through, scale=1 / 255), part[..., :3])
