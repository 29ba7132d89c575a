"""TensorRT's Python module, as far as firmware/drivers uses it to run engines.

Read from the signatures that tensorrt_rtx 1.7.1.116 (PyPI: tensorrt-rtx-cu13) prints for itself
(tests/contract/test_vendor_stubs.py holds the stub against it where it is installed). The same
classes and methods are in tensorrt 10.1 and later, so in JetPack 6.1's 10.3.
"""

from enum import Enum

__version__: str

class ILogger:
    class Severity(Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None: ...
    def log(self, severity: ILogger.Severity, msg: str) -> None: ...

class ExecutionContextAllocationStrategy(Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2

class Runtime:
    def __init__(self, logger: ILogger) -> None: ...
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None: ...

class ICudaEngine:
    @property
    def device_memory_size_v2(self) -> int: ...
    @property
    def num_io_tensors(self) -> int: ...
    def get_tensor_name(self, index: int) -> str: ...
    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy = ...
    ) -> IExecutionContext | None: ...

class IExecutionContext:
    def set_device_memory(self, memory: int, size: int) -> None: ...
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...
