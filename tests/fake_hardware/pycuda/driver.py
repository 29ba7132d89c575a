"""The part of pycuda.driver that the sensor uses, as thin as pycuda's own, over `libcuda.so.1`.

Each class is declared as a subclass of the real one's stub, so that mypy refuses a signature that
the stub does not have.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pycuda.driver as real
    from pycuda.driver import Context as _Context
    from pycuda.driver import Device as _Device
    from pycuda.driver import DeviceAllocation as _DeviceAllocation
    from pycuda.driver import Function as _Function
    from pycuda.driver import Module as _Module
    from pycuda.driver import Stream as _Stream
else:
    _Device = _Context = _Stream = _DeviceAllocation = _Module = _Function = object

_Scalar = TypeVar("_Scalar", bound=np.generic)
_cuda = ctypes.CDLL("libcuda.so.1")


class Error(Exception):
    pass


class MemoryError(Error):
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):
    pass


_KINDS: dict[int, type[Error]] = {2: MemoryError, 700: LogicError, 719: LaunchError}
"""As wrap_cudadrv.cpp sorts them."""


def _call(name: str, *arguments: object) -> None:
    if status := getattr(_cuda, name)(*arguments):
        raise _KINDS.get(status, LogicError)(f"{name} failed: error {status}")


def init(flags: int = 0) -> None:
    _call("cuInit", flags)


def mem_get_info() -> tuple[int, int]:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value, total.value


def mem_alloc(size: int, /) -> DeviceAllocation:
    return DeviceAllocation(size)


def memset_d8(dest: int, data: int, size: int) -> None:
    _call("cuMemsetD8_v2", _address(dest), ctypes.c_ubyte(data), ctypes.c_size_t(size))


def memset_d8_async(dest: int, data: int, size: int, stream: _Stream | None = None) -> None:
    value, count = ctypes.c_ubyte(data), ctypes.c_size_t(size)
    _call("cuMemsetD8Async", _address(dest), value, count, _handle(stream))


def memcpy_htod(dest: int, src: NDArray[Any]) -> None:
    _call("cuMemcpyHtoD_v2", _address(dest), _buffer(src), ctypes.c_size_t(src.nbytes))


def memcpy_htod_async(dest: int, src: NDArray[Any], stream: _Stream | None = None) -> None:
    size = ctypes.c_size_t(src.nbytes)
    _call("cuMemcpyHtoDAsync_v2", _address(dest), _buffer(src), size, _handle(stream))


def memcpy_dtoh(dest: NDArray[Any], src: int) -> None:
    _call("cuMemcpyDtoH_v2", _buffer(dest), _address(src), ctypes.c_size_t(dest.nbytes))


def memcpy_dtoh_async(dest: NDArray[Any], src: int, stream: _Stream | None = None) -> None:
    size = ctypes.c_size_t(dest.nbytes)
    _call("cuMemcpyDtoHAsync_v2", _buffer(dest), _address(src), size, _handle(stream))


def pagelocked_empty(
    shape: tuple[int, ...], dtype: type[_Scalar], order: str = "C", mem_flags: int = 0
) -> NDArray[_Scalar]:
    place, size = ctypes.c_void_p(), int(np.prod(shape)) * np.dtype(dtype).itemsize
    _call("cuMemHostAlloc", ctypes.byref(place), ctypes.c_size_t(max(1, size)), mem_flags)
    assert place.value
    memory = (ctypes.c_ubyte * size).from_address(place.value)
    values: NDArray[_Scalar] = np.frombuffer(memoryview(memory), dtype)
    return values.reshape(shape)


def module_from_buffer(buffer: bytes) -> Module:
    return Module(buffer)


class Device(_Device):
    def __init__(self, number: int, /) -> None:
        self._device = ctypes.c_int()
        _call("cuDeviceGet", ctypes.byref(self._device), number)

    @staticmethod
    def count() -> int:
        count = ctypes.c_int()
        _call("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def name(self) -> str:
        text = ctypes.create_string_buffer(256)
        _call("cuDeviceGetName", text, 256, self._device)
        return text.value.decode()

    def compute_capability(self) -> tuple[int, int]:
        major, minor = ctypes.c_int(), ctypes.c_int()
        _call("cuDeviceComputeCapability", ctypes.byref(major), ctypes.byref(minor), self._device)
        return major.value, minor.value

    def total_memory(self) -> int:
        size = ctypes.c_size_t()
        _call("cuDeviceTotalMem_v2", ctypes.byref(size), self._device)
        return size.value

    def retain_primary_context(self) -> Context:
        return Context(self._device)


class Context(_Context):
    def __init__(self, device: ctypes.c_int) -> None:
        self._context = ctypes.c_void_p()
        _call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)

    def push(self) -> None:
        _call("cuCtxPushCurrent_v2", self._context)

    def detach(self) -> None:
        _call("cuDevicePrimaryCtxRelease_v2", 0)

    @staticmethod
    def pop() -> None:
        _call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    @staticmethod
    def synchronize() -> None:
        _call("cuCtxSynchronize")


class Stream(_Stream):
    def __init__(self, flags: int = 0) -> None:
        self._stream = ctypes.c_void_p()
        _call("cuStreamCreate", ctypes.byref(self._stream), flags)

    def __del__(self) -> None:
        if _cuda is not None:
            _cuda.cuStreamDestroy_v2(self._stream)

    def synchronize(self) -> None:
        _call("cuStreamSynchronize", self._stream)

    @property
    def handle(self) -> int:
        assert self._stream.value
        return self._stream.value


class DeviceAllocation(_DeviceAllocation):
    def __init__(self, size: int) -> None:
        self._address = ctypes.c_void_p()
        _call("cuMemAlloc_v2", ctypes.byref(self._address), ctypes.c_size_t(size))

    def __int__(self) -> int:
        assert self._address.value
        return self._address.value

    def __del__(self) -> None:
        if self._address.value and _cuda is not None:  # at an interpreter's end it is
            _cuda.cuMemFree_v2(self._address)

    def free(self) -> None:
        _call("cuMemFree_v2", self._address)
        self._address = ctypes.c_void_p()


class Module(_Module):
    def __init__(self, image: bytes) -> None:
        self._module = ctypes.c_void_p()
        _call("cuModuleLoadData", ctypes.byref(self._module), image)

    def get_function(self, name: str) -> Function:
        function = ctypes.c_void_p()
        _call("cuModuleGetFunction", ctypes.byref(function), self._module, name.encode())
        return Function(function)


class Function(_Function):
    def __init__(self, function: ctypes.c_void_p) -> None:
        self._function = function
        self._format = ""

    def prepare(self, arg_types: Sequence[Any] | str) -> Function:
        self._format = "".join(arg_types)
        return self

    def prepared_async_call(
        self, grid: tuple[int, ...], block: tuple[int, ...], stream: _Stream, /, *args: float
    ) -> None:
        arguments = struct.pack(f"@{self._format}", *args)
        size = ctypes.c_size_t(len(arguments))
        held = ctypes.create_string_buffer(arguments, len(arguments))
        extra = (ctypes.c_void_p * 5)(1, ctypes.addressof(held), 2, ctypes.addressof(size), None)
        grid, block = (*grid, 1, 1)[:3], (*block, 1, 1)[:3]
        handle = _handle(stream)
        _call("cuLaunchKernel", self._function, *grid, *block, 0, handle, None, extra)


def _address(address: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(address)


def _buffer(array: NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def _handle(stream: _Stream | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(stream.handle if stream else None)


if TYPE_CHECKING:  # functions too: each may stand where the real one does
    _init = real.init
    _init = init
    _mem_get_info = real.mem_get_info
    _mem_get_info = mem_get_info
    _mem_alloc = real.mem_alloc
    _mem_alloc = mem_alloc
    _memset_d8 = real.memset_d8
    _memset_d8 = memset_d8
    _memset_d8_async = real.memset_d8_async
    _memset_d8_async = memset_d8_async
    _memcpy_htod = real.memcpy_htod
    _memcpy_htod = memcpy_htod
    _memcpy_htod_async = real.memcpy_htod_async
    _memcpy_htod_async = memcpy_htod_async
    _memcpy_dtoh = real.memcpy_dtoh
    _memcpy_dtoh = memcpy_dtoh
    _memcpy_dtoh_async = real.memcpy_dtoh_async
    _memcpy_dtoh_async = memcpy_dtoh_async
    _module_from_buffer = real.module_from_buffer
    _module_from_buffer = module_from_buffer
