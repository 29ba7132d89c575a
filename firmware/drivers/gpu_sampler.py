"""From a picture on the GPU to the engines' inputs there: no part of a frame comes to the host."""

from __future__ import annotations

import math
from typing import Protocol, cast, get_args

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from firmware.drivers.gpu import DeviceArray, Gpu, translated
from firmware.vision.crops import View, cut_of
from firmware.vision.engine import Engine
from firmware.vision.frames import Frame, GpuImage, Layout
from firmware.vision.letterbox import halvings_of, scale_of

_LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""In the order of the constants in kernels.cu."""
_LARGEST_CHIP = 64


class EngineOnGpu(Engine, Protocol):
    """An engine whose input lies on the GPU; whatever writes it is queued on its stream."""

    stream: cuda.Stream

    @property
    def input(self) -> DeviceArray: ...


class GpuSampler:
    """`firmware.vision.sampling.Sampler` by one kernel for each input, on the engine's own stream.

    A frame that a host's camera or decoder gave is brought to the GPU by `letterbox`, once, through
    pinned memory that the wipe knows.
    """

    def __init__(self, gpu: Gpu, width_px: int, height_px: int) -> None:
        self._gpu = gpu
        self._frame_px = (width_px, height_px)
        self._staging: NDArray[np.uint8] | None = None
        self._uploaded: DeviceArray | None = None
        self._sums = gpu.allocate("chips.sums_on_gpu", (_LARGEST_CHIP, 4), np.float32)
        self._sums_here = gpu.pinned("chips.sums", (_LARGEST_CHIP, 4), np.float32)
        self._last: tuple[EngineOnGpu, int] | None = None

    def letterbox(self, frame: Frame, engine: Engine) -> None:
        target = _on_gpu(engine)
        if frame.image is None:
            self._upload(frame, target)
        width_px, height_px = self._frame_px
        rows, columns = target.input.shape[2:]
        scale = scale_of(width_px, height_px, columns, rows)
        halvings = halvings_of(scale)
        size = width_px >> halvings, height_px >> halvings
        covered = round(width_px * scale), round(height_px * scale)
        xx, yy = size[0] / covered[0], size[1] / covered[1]
        # The middle of a pixel is half a pixel from its corner, in both.
        affine = (xx, 0.0, xx / 2 - 0.5, 0.0, yy, yy / 2 - 0.5)
        region = (0, 0, *size, halvings)
        self._sample(frame, target, region=region, affine=affine, covered=covered)

    def cut(
        self, frame: Frame, landmarks: NDArray[np.float32], engine: Engine, row: int, view: View
    ) -> None:
        target = _on_gpu(engine)
        side = target.input.shape[3]
        scale, shift, halvings, mirrored = cut_of(landmarks, side, view, *self._frame_px)
        # One grid over the frame instead of regions of regions.
        left = sum(region.left << level for level, region in enumerate(halvings))
        top = sum(region.top << level for level, region in enumerate(halvings))
        size = halvings[-1][2:] if halvings else self._frame_px
        turn, back = 1 / scale, -shift / scale
        affine = (turn.real, -turn.imag, back.real, turn.imag, turn.real, back.imag)
        region = (left, top, *size, len(halvings))
        self._sample(
            frame,
            target,
            region=region,
            affine=affine,
            covered=(side, side),
            row=row,
            mirrored=mirrored,
        )
        self._last = (target, row)

    def contrast(self) -> tuple[float, float]:
        assert self._last, "no chip was cut"
        engine, row = self._last
        side = engine.input.shape[3]
        green = _place(engine, row) + 4 * side * side
        self._gpu.launch("contrast", side, 1, engine.stream, green, side, self._sums.address)
        with translated("reading the contrast"):
            cuda.memcpy_dtoh_async(self._sums_here, self._sums.address, engine.stream)
            engine.stream.synchronize()
        count = side * side
        value, square, detail, detail_square = (
            float(column) / count for column in self._sums_here[:side].sum(axis=0, dtype=np.float64)
        )
        return _deviation(detail, detail_square), _deviation(value, square)

    def _sample(
        self,
        frame: Frame,
        engine: EngineOnGpu,
        *,
        region: tuple[int, int, int, int, int],
        affine: tuple[float, float, float, float, float, float],
        covered: tuple[int, int],
        row: int = 0,
        mirrored: bool = False,
    ) -> None:
        image = frame.image or self._image()
        _, _, rows, columns = engine.input.shape
        self._gpu.launch(
            "sample",
            *covered,
            engine.stream,
            image.address,
            _LAYOUTS.index(image.layout),
            image.width_px,
            image.height_px,
            *region,
            *affine,
            int(mirrored),
            _place(engine, row),
            rows * columns,
            columns,
            *covered,
        )

    def _upload(self, frame: Frame, engine: EngineOnGpu) -> None:
        shape = frame.pixels.shape
        if self._staging is None or self._uploaded is None:
            self._staging = self._gpu.pinned("frame.staging", shape, np.uint8)
            self._uploaded = self._gpu.allocate("frame.on_gpu", shape, np.uint8)
        np.copyto(self._staging, frame.pixels)
        with translated("bringing a frame to the GPU"):
            cuda.memcpy_htod_async(self._uploaded.address, self._staging, engine.stream)
            engine.stream.synchronize()  # the other engines' streams read it too

    def _image(self) -> GpuImage:
        assert self._uploaded, "letterbox brings a frame to the GPU"
        return GpuImage(self._uploaded.address, "bgr8", *self._frame_px)


def _on_gpu(engine: Engine) -> EngineOnGpu:
    assert isinstance(engine.input, DeviceArray), "the host's engines need the host's sampler"
    return cast(EngineOnGpu, engine)


def _place(engine: EngineOnGpu, row: int) -> int:
    """Address of one row of an engine's input."""
    return engine.input.address + row * engine.input.nbytes // engine.input.shape[0]


def _deviation(mean: float, mean_square: float) -> float:
    return math.sqrt(max(0.0, mean_square - mean * mean))
