"""Faces brought to one size and stance for the attribute networks."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.vision import memory

# Where dlib's mean face has the five landmarks, in units of its own extent: the eyes from
# `get_face_chip_details` (eye centres of the mean face), nose and mouth relative to them from the
# median of the detector's landmarks on frontal faces.
_MEAN_FACE = (0.227 + 0.2214j, 0.7534 + 0.2214j, 0.4902 + 0.4793j, 0.277 + 0.711j, 0.7034 + 0.711j)
_HALVINGS = 3


class View(NamedTuple):
    """One way to cut a face out; the answers to all views of a face are averaged.

    Attributes:
        padding: room around dlib's mean face, as a part of its extent.
        mirrored: left and right exchanged.
        lowered: the face stands lower in the chip by this part of its side.
    """

    padding: float = 0.2
    mirrored: bool = False
    lowered: float = 0.0


class Region(NamedTuple):
    """A part of a picture that is halved: its corner in that picture, and its halved size."""

    left: int
    top: int
    columns: int
    rows: int


class Cut(NamedTuple):
    """How a face comes from a frame into a chip.

    A point z = x + iy of the last region's halved picture, or of the frame where there is none,
    comes to scale·z + shift in the chip.

    Attributes:
        halvings: each a region of the halved picture before it, the first one of the frame.
    """

    scale: complex
    shift: complex
    halvings: tuple[Region, ...]
    mirrored: bool


def cut_of(
    landmarks: NDArray[np.float32], side: int, view: View, width_px: int, height_px: int
) -> Cut:
    """Where a face of a frame of this size comes to lie in a chip of `side` pixels.

    A face's surroundings are halved until at most every second pixel would be passed over.

    Args:
        landmarks: f32 (5, 2), in the order of `Detections.landmarks`.
    """
    scale, shift = _similarity(landmarks, side, view.padding)
    shift += side * view.lowered * 1j
    halvings: list[Region] = []
    columns, rows = width_px, height_px
    while len(halvings) < _HALVINGS and abs(scale) <= 0.5:
        centre = (side * (0.5 + 0.5j) - shift) / scale
        reach = side * math.sqrt(0.5) / abs(scale) + 2
        left, top = max(0, int(centre.real - reach)), max(0, int(centre.imag - reach))
        columns = (min(columns, max(left, int(centre.real + reach))) - left) // 2
        rows = (min(rows, max(top, int(centre.imag + reach))) - top) // 2
        if columns <= 0 or rows <= 0:
            break
        halvings.append(Region(left, top, columns, rows))
        shift += scale * (left + 0.5 + (top + 0.5) * 1j)
        scale *= 2
    return Cut(scale, shift, tuple(halvings), view.mirrored)


class Chips:
    """Cuts aligned faces out of frames of one size.

    A face is turned, scaled and moved so that its five landmarks come as near as possible (least
    squares) to those of dlib's mean face, the chip that the age and gender networks were trained
    on. With padding 0.2 the eyes are at (.305, .301) and (.681, .301) of the chip.

    Attributes:
        green: u8 (side, side), the green plane of the chip that was cut last; a view.
    """

    def __init__(self, width_px: int, height_px: int, side_px: int) -> None:
        self._halves = [
            memory.allocate(f"chips.half{n}", (height_px >> n, width_px >> n, 3), np.uint8)
            for n in range(1, _HALVINGS + 1)
        ]
        self._chip = memory.allocate("chips.chip", (side_px, side_px, 3), np.uint8)
        self._planes = memory.allocate("chips.planes", (3, side_px, side_px), np.uint8)
        self.green = self._planes[1]

    def cut(
        self,
        pixels: NDArray[np.uint8],
        landmarks: NDArray[np.float32],
        target: NDArray[np.float32],
        view: View = View(),  # noqa: B008  immutable
    ) -> None:
        """Write one face into a row of a network's input.

        Args:
            pixels: u8 (H, W, 3) BGR, the frame.
            landmarks: f32 (5, 2), in the order of `Detections.landmarks`.
            target: f32 (3, side, side), filled with RGB 0 … 255.
        """
        side = target.shape[1]
        rows, columns = pixels.shape[:2]
        scale, shift, halvings, mirrored = cut_of(landmarks, side, view, columns, rows)
        for (left, top, columns, rows), half in zip(halvings, self._halves, strict=False):
            region = pixels[top : top + 2 * rows, left : left + 2 * columns]
            smaller = half[:rows, :columns]
            cv2.resize(region, (columns, rows), dst=smaller, interpolation=cv2.INTER_AREA)
            pixels = smaller
        turn = np.array(
            ((scale.real, -scale.imag, shift.real), (scale.imag, scale.real, shift.imag))
        )
        chip, planes = self._chip[:side, :side], self._planes[:, :side, :side]
        cv2.warpAffine(pixels, turn, (side, side), dst=chip, borderMode=cv2.BORDER_REPLICATE)
        cv2.split(chip, list(planes))
        self.green = planes[1]
        np.copyto(target, planes[::-1, :, ::-1] if mirrored else planes[::-1])


def _similarity(
    landmarks: NDArray[np.float32], side: int, padding: float
) -> tuple[complex, complex]:
    """Scale with turn, and shift, of the least-squares similarity from frame to chip.

    Points are complex numbers x + iy; then the similarity is z → scale·z + shift (Umeyama 1991
    without reflection).
    """
    unit = side / (1 + 2 * padding)
    wanted = [(point + padding * (1 + 1j)) * unit for point in _MEAN_FACE]
    given = [complex(x, y) for x, y in landmarks.tolist()]
    given_mean, wanted_mean = sum(given) / 5, sum(wanted) / 5
    spread = sum(abs(z - given_mean) ** 2 for z in given)
    joint = sum(
        (z - given_mean).conjugate() * (w - wanted_mean) for z, w in zip(given, wanted, strict=True)
    )
    scale = joint / spread if abs(joint) > 1e-3 else 1 + 0j  # five points in one: no face
    return scale, wanted_mean - scale * given_mean
