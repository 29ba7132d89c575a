"""Inference with ONNX Runtime on the CPU, in buffers that vision owns and can wipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The wheels collect telemetry and write it under ~/.cache unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # type: ignore[import-untyped]
from onnxruntime.capi import onnxruntime_pybind11_state as vendor  # type: ignore[import-untyped]

from firmware.errors import EngineError
from firmware.vision import memory, models
from firmware.vision.models import Model

onnxruntime.disable_telemetry_events()
onnxruntime.set_default_logger_severity(4)

VENDOR_ERRORS: tuple[type[Exception], ...] = (
    vendor.EPFail,
    vendor.Fail,
    vendor.InvalidArgument,
    vendor.InvalidGraph,
    vendor.InvalidProtobuf,
    vendor.NoModel,
    vendor.NoSuchFile,
    vendor.NotImplemented,
    vendor.RuntimeException,
    RuntimeError,
)

_RUN = onnxruntime.RunOptions()


class OnnxEngine:
    """One model in one session with one thread (`firmware.vision.engine.Engine`).

    The session's arena and memory pattern stay on: the same activations lie in the same place in
    every run, so that `scrub` overwrites what the last picture left there. Its buffers are
    registered under the owner `<name>_engine`.
    """

    def __init__(self, folder: Path, model: Model) -> None:
        """Load a converted model.

        Raises:
            EngineError: the file is missing or altered, or the runtime refuses it.
        """
        self.name = model.name
        self.model = model
        self._owner = f"{model.name}_engine"
        self.input: NDArray[np.float32] = memory.allocate(
            f"{self._owner}.input", model.input, np.float32
        )
        self.outputs: tuple[NDArray[np.float32], ...] = tuple(
            memory.allocate(f"{self._owner}.{name}", shape, np.float32)
            for name, shape in model.outputs.items()
        )
        try:
            self._session = _session(folder, model)
            self._binding = self._session.io_binding()
            self._bind()
        except VENDOR_ERRORS as error:
            self.close()
            raise EngineError(
                f"ONNX Runtime refuses {model.file} ({type(error).__name__})",
                remedy="run `python -m trt_engines convert` again with this machine's software",
            ) from error
        except EngineError:
            self.close()
            raise

    def run(self, rows: int = 0) -> None:
        """Infer from the whole of `input` into `outputs`, however many rows were written.

        Raises:
            EngineError: the runtime failed.
        """
        try:
            self._session.run_with_iobinding(self._binding, _RUN)
        except VENDOR_ERRORS as error:
            # The vendor's text may hold values of the input: only its kind goes on.
            raise EngineError(
                f"inference of {self.name} failed ({type(error).__name__})",
                remedy="restart the sensor; when it happens again, check the memory",
            ) from None

    def scrub(self) -> None:
        """Let the activations hold what zeros give, and nothing of a picture."""
        self.input.fill(0)
        self.run()
        memory.wipe(self._owner)

    def close(self) -> None:
        self._session = self._binding = None
        memory.release(self._owner)

    def _bind(self) -> None:
        (given,) = self._session.get_inputs()
        self._binding.bind_input(given.name, "cpu", 0, np.float32, *_place(self.input))
        for name, output in zip(self.model.outputs, self.outputs, strict=True):
            self._binding.bind_output(name, "cpu", 0, np.float32, *_place(output))


def load(folder: Path, *wanted: Model) -> dict[str, OnnxEngine]:
    """Engines by the names of their models: see `firmware.vision.models.chosen`.

    Raises:
        EngineError: one of them cannot be loaded.
    """
    return {model.name: OnnxEngine(folder, model) for model in wanted}


def _session(folder: Path, model: Model) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    with models.opened(folder, model) as file:
        # By its descriptor, so that the file which was checked is the one that is loaded; giving
        # its content as bytes would keep a second copy of the weights.
        session = onnxruntime.InferenceSession(
            f"/proc/self/fd/{file.fileno()}",
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,
        )
    return session


def _place(buffer: NDArray[np.float32]) -> tuple[tuple[int, ...], int]:
    return buffer.shape, buffer.ctypes.data
