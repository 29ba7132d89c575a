"""The GPU through pycuda: its memory, registered for the wipe, and our kernels on it."""

from __future__ import annotations

import atexit
import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from firmware.drivers import gpu_kernels
from firmware.errors import EngineError
from firmware.vision import memory

_Scalar = TypeVar("_Scalar", bound=np.generic)

# Arguments as pycuda packs them: P a pointer, i an integer, f a float; in the order of kernels.cu.
_ARGUMENTS = {"sample": "PiiiiiiiiffffffiPiiii", "contrast": "PiP"}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """CUDA's errors as the sensor's.

    Raises:
        EngineError: `what` failed. Most of CUDA's errors end the use of the GPU by this process,
            so vision is then replaced.
    """
    try:
        yield
    except cuda.MemoryError as error:
        raise EngineError(
            f"{what}: the GPU has no memory left",
            remedy="end other programs that use the GPU, or build the engines for fewer faces",
        ) from error
    except cuda.Error as error:
        raise EngineError(
            f"{what} failed on the GPU ({type(error).__name__})",
            remedy="restart the sensor; when it happens again, check NVIDIA's driver (dmesg)",
        ) from error


class DeviceArray:
    """Memory of the GPU, C-contiguous, that the wipe knows: only `Gpu.allocate` makes one.

    Attributes:
        address: of its first value; 256-byte aligned.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.nbytes = math.prod(shape) * self.dtype.itemsize
        self._allocation: cuda.DeviceAllocation | None = cuda.mem_alloc(max(1, self.nbytes))
        self.address = int(self._allocation)

    def fill(self, value: int) -> None:
        """Set every byte to `value`, and wait until it is done.

        Raises:
            EngineError: the GPU failed.
        """
        with translated("clearing memory"):
            if self.nbytes:
                cuda.memset_d8(self.address, value, self.nbytes)
            cuda.Context.synchronize()

    def read(self) -> NDArray[Any]:
        """A copy in this process's memory: for tests and measurements, never for a picture."""
        copy = np.empty(self.shape, self.dtype)
        with translated("reading memory"):
            if self.nbytes:
                cuda.memcpy_dtoh(copy, self.address)
        return copy

    def any(self) -> bool:
        return bool(self.read().any())

    def free(self) -> None:
        """Give it back to the driver. Idempotent."""
        allocation, self._allocation = self._allocation, None
        if allocation:
            with translated("freeing memory"):
                allocation.free()


class Gpu:
    """The first GPU, in its primary context: the one that TensorRT and jetson-utils use too.

    There is one in a process, and it ends with it: `open_gpu`.
    """

    def __init__(self) -> None:
        with translated("opening the GPU"):
            cuda.init()
            device = cuda.Device(0)
            self._context = device.retain_primary_context()
            self._context.push()
            atexit.register(self._leave)
            capability = device.compute_capability()
            self._module = cuda.module_from_buffer(gpu_kernels.read(capability))
            self._kernels = {
                name: self._module.get_function(name).prepare(arguments)
                for name, arguments in _ARGUMENTS.items()
            }
            self.name = device.name()

    def _leave(self) -> None:
        """pycuda aborts when a context is left active, and complains when one is not detached."""
        self._context.pop()
        self._context.detach()

    def allocate(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> DeviceArray:
        """Zeroed memory on the GPU, registered like `memory.allocate` does.

        Raises:
            EngineError: the GPU has no memory left.
            ValueError: the name is taken.
        """
        with translated(f"allocating {name}"):
            array = DeviceArray(shape, dtype)
        memory.adopt(name, array)
        array.fill(0)
        return array

    def pinned(self, name: str, shape: tuple[int, ...], dtype: type[_Scalar]) -> NDArray[_Scalar]:
        """A zeroed array of this process that the GPU copies to without a buffer of the driver's.

        From ordinary memory the driver copies through pages of its own, which nobody wipes.

        Raises:
            EngineError: there is no memory left that can stay in place.
        """
        with translated(f"allocating {name}"):
            array = cuda.pagelocked_empty(shape, dtype)
        array.fill(0)
        memory.adopt(name, array)
        return array

    def launch(
        self, kernel: str, columns: int, rows: int, stream: cuda.Stream, *arguments: int | float
    ) -> None:
        """Queue a kernel with a thread for each of columns × rows points.

        Raises:
            EngineError: the GPU failed, now or in what was queued before.
        """
        block = (32, 8, 1) if rows > 1 else (64, 1, 1)
        grid = (-(-columns // block[0]), -(-rows // block[1]))
        with translated(f"kernel {kernel}"):
            self._kernels[kernel].prepared_async_call(grid, block, stream, *arguments)


@functools.cache
def open_gpu() -> Gpu:
    """The GPU of this process, opened when it is first asked for.

    Raises:
        EngineError: there is none, or its kernels were not built.
    """
    return Gpu()
