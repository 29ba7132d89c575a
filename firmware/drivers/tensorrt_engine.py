"""Inference with TensorRT or TensorRT-RTX, in GPU memory that vision owns and can wipe.

One code path for both, and for TensorRT 10 and 11: named tensors, addresses that are set once, and
activations in memory of ours (USER_MANAGED), so that a wipe reaches them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from firmware import engine_file
from firmware.drivers import tensorrt_vendor
from firmware.drivers.cuda_graph import Graph
from firmware.drivers.gpu import DeviceArray, Gpu, translated
from firmware.errors import EngineError
from firmware.vision import memory
from firmware.vision.models import Model

if TYPE_CHECKING:
    import tensorrt


class TensorrtEngine:
    """One model on its own stream (`firmware.vision.engine.Engine`).

    `input` is on the GPU, where `GpuSampler` writes; `outputs` are pinned arrays of this process.
    The first run of each number of rows is recorded as a CUDA graph, which the others launch.
    Its buffers are registered under the owner `<name>_gpu_engine`.

    Attributes:
        stream: whatever writes `input` is queued here, and so is done before a run.
        about: what was built, and when.
    """

    def __init__(self, gpu: Gpu, folder: Path, model: Model) -> None:
        """Load the engine that was built from a converted model on this machine.

        Args:
            folder: of the models with the engines' precision, `engine_file.variant`.

        Raises:
            EngineError: the engine is missing, altered, or does not fit this model and machine; or
                the GPU has no room for it.
        """
        self.name = model.name
        self._owner = f"{model.name}_gpu_engine"
        path = engine_file.path(folder, model)
        self.about, content = engine_file.read(path, model, tensorrt_vendor.machine())
        self._graphs: dict[int, Graph | None] = {}  # None: cannot be recorded
        self._rows = 0
        self._said: list[str] = []
        try:
            self._load(path, content)
            batch = self.about.batch.max
            self.input = self._tensor(gpu, self.about.inputs, batch)
            self._on_gpu = [
                self._tensor(gpu, {name: shape}, batch)
                for name, shape in self.about.outputs.items()
            ]
            self.outputs: tuple[NDArray[np.float32], ...] = tuple(
                gpu.pinned(f"{self._owner}.{name}", array.shape, np.float32)
                for name, array in zip(self.about.outputs, self._on_gpu, strict=True)
            )
            size = self._engine.device_memory_size_v2
            self.activations = gpu.allocate(f"{self._owner}.activations", (size,), np.uint8)
            self._context.set_device_memory(self.activations.address, size)
            with translated("opening a stream"):
                self.stream = cuda.Stream()
            self.run()
        except EngineError:
            self.close()
            raise

    def run(self, rows: int = 0) -> None:
        """Infer from the first `rows` of `input`, or all, into `outputs`.

        Raises:
            EngineError: the GPU failed.
        """
        rows = rows or self.input.shape[0]
        if graph := self._graphs.get(rows):
            graph.launch()
        else:
            self._enqueue(rows)
        with translated(f"inference of {self.name}"):
            for here, there in zip(self.outputs, self._on_gpu, strict=True):
                cuda.memcpy_dtoh_async(here, there.address, self.stream)
            self.stream.synchronize()
        if rows not in self._graphs:
            # After a run of this shape: the first one compiles and allocates, what no graph can.
            try:
                self._graphs[rows] = Graph(self.stream.handle, lambda: self._enqueue(rows))
            except EngineError:
                self._graphs[rows] = None  # slower, and the same result

    def scrub(self) -> None:
        """Let whatever the vendor keeps hold what zeros give, and ours hold zeros.

        Raises:
            EngineError: the GPU failed.
        """
        self.input.fill(0)
        self.run()
        memory.wipe(self._owner)

    def close(self) -> None:
        for graph in self._graphs.values():
            if graph:
                graph.close()
        self._graphs.clear()
        adopted = [buffer for _, buffer in memory.adopted(self._owner)]
        try:
            memory.release(self._owner)
        finally:
            for reference in ("_context", "_engine", "_runtime"):  # each refers to the next
                vars(self).pop(reference, None)
            for buffer in adopted:
                if isinstance(buffer, DeviceArray):
                    buffer.free()

    def _load(self, path: Path, content: bytes) -> None:
        vendor = tensorrt_vendor.vendor(self.about.builder).module
        # The engine refers to its runtime, and that to its logger.
        self._runtime: tensorrt.Runtime = vendor.Runtime(_quiet_logger(vendor, self._said))
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise self._refused(path)
        self._engine: tensorrt.ICudaEngine = engine
        strategy = vendor.ExecutionContextAllocationStrategy.USER_MANAGED
        context = engine.create_execution_context(strategy)
        if context is None:
            raise self._refused(path)
        self._context: tensorrt.IExecutionContext = context

    def _tensor(self, gpu: Gpu, about: dict[str, tuple[int, ...]], batch: int) -> DeviceArray:
        """Memory for the only tensor of `about`, which the context then uses."""
        ((name, shape),) = about.items()
        shape = tuple(batch if extent < 0 else extent for extent in shape)
        array = gpu.allocate(f"{self._owner}.{name}_on_gpu", shape, np.float32)
        if not self._context.set_tensor_address(name, array.address):
            raise EngineError(
                f"the engine of {self.name} has no tensor {name}", remedy=engine_file.REBUILD
            )
        return array

    def _enqueue(self, rows: int) -> None:
        with translated(f"inference of {self.name}"):
            if rows != self._rows:  # never while a graph is recorded: it follows a plain run
                (name,) = self.about.inputs
                self._context.set_input_shape(name, (rows, *self.input.shape[1:]))
                self._rows = rows
            done = self._context.execute_async_v3(self.stream.handle)
        if not done:
            raise EngineError(
                f"inference of {self.name} failed",
                remedy="restart the sensor; when it happens again, check NVIDIA's driver (dmesg)",
            ) from RuntimeError("; ".join(self._said))

    def _refused(self, path: Path) -> EngineError:
        error = EngineError(
            f"TensorRT refuses engine {path}",
            remedy=f"{engine_file.REBUILD}; when it happens again, free memory of the GPU",
        )
        error.__cause__ = RuntimeError("; ".join(self._said))
        return error


def load(gpu: Gpu, folder: Path, *wanted: Model) -> dict[str, TensorrtEngine]:
    """Engines by the names of their models: see `firmware.vision.models.chosen`.

    Raises:
        EngineError: one of them cannot be loaded.
    """
    return {model.name: TensorrtEngine(gpu, folder, model) for model in wanted}


def _quiet_logger(vendor: Any, said: list[str]) -> Any:
    """Keeps what the vendor says of errors, for a traceback; its own would go to standard error."""

    class Quiet(vendor.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            vendor.ILogger.__init__(self)

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity in (self.Severity.INTERNAL_ERROR, self.Severity.ERROR):
                said.append(msg)

    return Quiet()
