"""Stands in for TensorRT: an "engine" is an ONNX file, and ONNX Runtime computes on the fake GPU.

It keeps to the vendor's manners that a driver must mind: what cannot be done gives None or False
and a line of the logger, not an exception; work is queued on the stream and done later; activations
lie in the memory that the caller gave, and stay there.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from tensorrt import ICudaEngine as _ICudaEngine
    from tensorrt import IExecutionContext as _IExecutionContext
    from tensorrt import Runtime as _Runtime
else:
    _Runtime = _ICudaEngine = _IExecutionContext = object

__version__ = "10.3.0"
MAGIC = b"fake engine for batches of %2d\n"
_cuda = ctypes.CDLL("libcuda.so.1")
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def serialized(onnx_file: bytes, batch: int) -> bytes:
    """What the vendor's builder would give for a network and a largest batch."""
    return MAGIC % batch + onnx_file


class ILogger:
    class Severity(Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        pass

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError  # a subclass says what becomes of it


class ExecutionContextAllocationStrategy(Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class Runtime(_Runtime):
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        head, onnx_file = serialized_engine[: len(MAGIC) - 1], serialized_engine[len(MAGIC) - 1 :]
        try:
            return ICudaEngine(onnx_file, int(head.split()[-1]))
        except Exception:
            self._logger.log(ILogger.Severity.ERROR, "Error Code 2: Internal Error (malformed)")
            return None


class ICudaEngine(_ICudaEngine):
    def __init__(self, onnx_file: bytes, batch: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(
            onnx_file, options, providers=["CPUExecutionProvider"]
        )
        self.batch = batch
        (self.input,) = self.session.get_inputs()
        self.outputs = self.session.get_outputs()

    @property
    def device_memory_size_v2(self) -> int:
        return self.batch * int(np.prod(self.input.shape[1:])) * 4

    @property
    def num_io_tensors(self) -> int:
        return 1 + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return str([self.input, *self.outputs][index].name)

    def create_execution_context(self, strategy: Any = None) -> IExecutionContext | None:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self)


class IExecutionContext(_IExecutionContext):
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._rows = engine.batch
        self._activations, self._room = 0, 0
        self._places: dict[str, int] = {}
        self._queued: list[Callable[..., None]] = []  # a callback must live until it was called

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0
        self._activations, self._room = memory, size

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        known = name == self._engine.input.name and shape[1:] == (*self._engine.input.shape[1:],)
        if known and 0 < shape[0] <= self._engine.batch:
            self._rows = shape[0]
        return bool(known)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        names = [self._engine.get_tensor_name(n) for n in range(self._engine.num_io_tensors)]
        self._places[name] = memory
        return name in names

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, rows = self._engine, self._rows
        if self._room < engine.device_memory_size_v2:
            return False

        def infer(_: int) -> None:
            given = self._values(engine.input, rows)
            activations = np.ctypeslib.as_array(
                (ctypes.c_float * given.size).from_address(self._activations)
            )
            activations[:] = given.reshape(-1)
            for row in range(rows):
                answers = engine.session.run(None, {engine.input.name: given[row : row + 1]})
                for output, answer in zip(engine.outputs, answers, strict=True):
                    self._values(output, rows)[row] = answer[0]

        self._queued.append(_HOST_FUNCTION(infer))
        status = _cuda.cuLaunchHostFunc(ctypes.c_void_p(stream_handle), self._queued[-1], None)
        return bool(status == 0)

    def _values(self, tensor: Any, rows: int) -> Any:
        shape = (rows, *tensor.shape[1:])
        place = self._places[tensor.name]
        return np.ctypeslib.as_array(
            (ctypes.c_float * int(np.prod(shape))).from_address(place)
        ).reshape(shape)
