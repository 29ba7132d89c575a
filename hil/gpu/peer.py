"""Where TensorRT refuses a GPU: the sensor's own path on it, with ONNX Runtime for the inference.

Frames, kernels, buffers, streams and the wipe are those of the sensor; only what lies between an
engine's input and its outputs is computed by ONNX Runtime, on the GPU where its package can.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pycuda.driver as cuda
from numpy.typing import NDArray

from firmware.drivers.gpu import Gpu, translated
from firmware.vision import memory, models
from firmware.vision.models import Model

PROVIDERS = [
    name
    for name in ("CUDAExecutionProvider", "CPUExecutionProvider")
    if name in onnxruntime.get_available_providers()
]


class PeerEngine:
    """`firmware.drivers.gpu_sampler.EngineOnGpu` over ONNX Runtime."""

    def __init__(self, gpu: Gpu, folder: Path, model: Model) -> None:
        self.name = model.name
        self._owner = f"{model.name}_peer"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        with models.opened(folder, model) as file:
            self._session = onnxruntime.InferenceSession(file.read(), options, providers=PROVIDERS)
        self.stream = cuda.Stream()
        self.input = gpu.allocate(f"{self._owner}.input", model.input, np.float32)
        self._here = gpu.pinned(f"{self._owner}.input_here", model.input, np.float32)
        self.outputs: tuple[NDArray[np.float32], ...] = tuple(
            gpu.pinned(f"{self._owner}.{name}", shape, np.float32)
            for name, shape in model.outputs.items()
        )

    def run(self, rows: int = 0) -> None:
        with translated(f"inference of {self.name}"):
            cuda.memcpy_dtoh_async(self._here, self.input.address, self.stream)
            self.stream.synchronize()
        name = self._session.get_inputs()[0].name
        for ours, given in zip(
            self.outputs, self._session.run(None, {name: self._here}), strict=True
        ):
            np.copyto(ours, given)

    def scrub(self) -> None:
        self.input.fill(0)
        self.run()
        memory.wipe(self._owner)

    def close(self) -> None:
        self.stream.synchronize()
        memory.release(self._owner)
        self.input.free()
