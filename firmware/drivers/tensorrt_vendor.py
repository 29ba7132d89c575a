"""Which TensorRT is on this machine, and which GPU: what an engine is bound to."""

from __future__ import annotations

import ctypes
import importlib
from typing import Any, NamedTuple, get_args

from firmware.engine_file import Builder, Machine
from firmware.errors import EngineError

_INSTALL = (
    "on a Jetson: apt install python3-libnvinfer; elsewhere: pip install tensorrt-rtx-cu13; or use "
    "the ONNX engine"
)
_MODULES = {
    "tensorrt": ("tensorrt",),
    # The package that is named tensorrt_rtx only imports all of its bindings.
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
# cuDeviceGetAttribute, from cuda.h
_MAJOR, _MINOR = 75, 76


class Vendor(NamedTuple):
    """The vendor's Python module. Both offer the same classes.

    Attributes:
        builder: `tensorrt`, or `tensorrt_rtx` where only that is installed.
    """

    module: Any
    builder: Builder
    version: str


def vendor(*wanted: Builder) -> Vendor:
    """The first that is installed of those that are wanted: TensorRT, then TensorRT-RTX.

    Raises:
        EngineError: none can be loaded.
    """
    names: tuple[Builder, ...] = wanted or get_args(Builder)
    for builder in names:
        for name in _MODULES[builder]:
            try:
                module = importlib.import_module(name)
            except (ImportError, OSError):
                continue
            return Vendor(module, builder, str(module.__version__))
    raise EngineError(f"cannot import {' or '.join(names)}", remedy=_INSTALL)


def machine() -> Machine:
    """What an engine must have been built for to run here.

    Raises:
        EngineError: there is no TensorRT, or no GPU.
    """
    found = vendor()
    return Machine(found.builder, found.version, compute_capability())


def compute_capability() -> str:
    """Of the first GPU, such as `8.7`, asked of the driver without making a CUDA context.

    Raises:
        EngineError: there is no GPU that CUDA can use.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise _no_gpu("there is no libcuda.so.1") from error
    device, value = ctypes.c_int(), ctypes.c_int()
    parts = []
    status = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
    for attribute in (_MAJOR, _MINOR):
        status = status or cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(str(value.value))
    if status:
        raise _no_gpu(f"CUDA error {status}")
    return ".".join(parts)


def _no_gpu(reason: str) -> EngineError:
    return EngineError(
        f"no GPU can be used ({reason})",
        remedy="install NVIDIA's driver, or use the ONNX engine",
    )
