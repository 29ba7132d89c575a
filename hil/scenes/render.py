"""A scene's frames, and the truth about each. The same script gives the same frames."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hil.scenes import figures, stage
from hil.scenes.script import Script
from hil.scenes.truth import Sample

_GRAINS = 8


class Scene:
    """A script, ready to be drawn frame by frame, in any order.

    Raises:
        EngineError: a portrait is missing from the cache.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.view = stage.View.of(script.camera)
        self.length = round(script.seconds * script.camera.frames_per_s)
        self._hall = stage.hall(self.view, script.seed)
        self._pillars = [(what.z_m, stage.pillar(self.view, what)) for what in script.pillar]
        rng = np.random.default_rng(script.seed)
        shape = (self.view.height_px, self.view.width_px, 3)
        self._grain = [
            rng.normal(0, script.camera.noise, shape).round().astype(np.int8)
            for _ in range(_GRAINS if script.camera.noise else 0)
        ]

    def light(self, at_s: float) -> float:
        """Light at one moment, as a factor; lamps flicker like a rectified sine."""
        lamp = self.script.light
        dark = 1 - abs(math.sin(math.pi * lamp.flicker_hz * at_s)) if lamp.flicker_hz else 0.0
        return lamp.level * (1 - lamp.flicker_depth * dark)

    def truth(self, index: int) -> list[Sample]:
        """Who is where in frame `index`, and how much of each face can be seen."""
        return self._compose(index, None)

    def draw(self, index: int, pixels: NDArray[np.uint8]) -> list[Sample]:
        """Draw frame `index` into u8 (H, W, 3) BGR and say what is true of it."""
        np.copyto(pixels, self._hall)
        samples = self._compose(index, pixels)
        light = self.light(index / self.script.camera.frames_per_s)
        if light != 1.0:
            cv2.convertScaleAbs(pixels, dst=pixels, alpha=light)
        if self._grain:
            rng = np.random.default_rng((self.script.seed, index))
            grain = self._grain[int(rng.integers(len(self._grain)))]
            shift = int(rng.integers(self.view.width_px))
            cv2.add(pixels, np.roll(grain, shift, axis=1), dst=pixels, dtype=cv2.CV_8U)
        return samples

    def _compose(self, index: int, pixels: NDArray[np.uint8] | None) -> list[Sample]:
        """Put visitors and pillars into the picture from far to near."""
        camera = self.script.camera
        at_s = index / camera.frames_per_s
        light = self.light(at_s)
        things: list[tuple[float, int, stage.Layer]] = [(z, -1, p) for z, p in self._pillars]
        samples: dict[int, Sample] = {}
        for who, visitor in enumerate(self.script.visitor):
            at = figures.pose(visitor, at_s)
            if at is None:
                continue
            layer = figures.draw(visitor, at, self.view, camera.shutter_s)
            things.append((at.z_m, who, layer))
            box = figures.face_box(visitor, at, self.view)
            distance = math.hypot(at.x_m, at.z_m)
            samples[who] = Sample(
                index, who, at_s, box, 1.0, at.yaw_deg, distance, at.speed_m_s, round(light, 3)
            )
        things.sort(key=lambda thing: -thing[0])
        open_face: dict[int, NDArray[np.uint8]] = {}
        for _, who, layer in things:
            for other, face in open_face.items():
                _cover(face, samples[other].box, layer)
            if who >= 0:
                open_face[who] = _within(samples[who].box, self.view)
            if pixels is not None:
                stage.put(pixels, layer)
        return [
            sample._replace(in_view=round(float(open_face[who].mean()) / 255, 3))
            for who, sample in samples.items()
        ]


def _within(box: tuple[float, float, float, float], view: stage.View) -> NDArray[np.uint8]:
    """u8 (h, w) over a face box: 255 where it is inside the picture."""
    x0, y0, x1, y1 = (round(edge) for edge in box)
    face = np.zeros((max(1, y1 - y0), max(1, x1 - x0)), np.uint8)
    face[max(0, -y0) : max(0, view.height_px - y0), max(0, -x0) : max(0, view.width_px - x0)] = 255
    return face


def _cover(
    face: NDArray[np.uint8], box: tuple[float, float, float, float], layer: stage.Layer
) -> None:
    """Take from a face what a nearer layer hides of it, in place."""
    left, top = layer.left - round(box[0]), layer.top - round(box[1])
    h, w = layer.pixels.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + w, face.shape[1]), min(top + h, face.shape[0])
    if x0 < x1 and y0 < y1:
        hidden = layer.pixels[y0 - top : y1 - top, x0 - left : x1 - left, 3]
        part = face[y0:y1, x0:x1]
        cv2.multiply(part, 255 - hidden, dst=part, scale=1 / 255)
