"""Hardware that is not here: a GPU as CUDA's driver library, and the vendors' modules on top of it.

`install` loads CUDA's driver made of ordinary memory (libcuda.cpp); `visible` lets it be found
under its real name, for the length of a test. The modules in this folder stand in for pycuda,
tensorrt, jetson_utils and picamera2 where the real ones are not installed; mypy holds them to the
stubs of the real ones. A process of its own gets their folders on its path and `build()` preloaded.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from firmware.drivers import gpu_kernels
from firmware.vision import native

HERE = Path(__file__).resolve().parent
CAPABILITY = (1, 0)
"""Of no GPU that CUDA still knows: what lies in the cache for it is in nobody's way."""
AMPLE = 1 << 32


def build(name: str = "libcuda.so.1") -> Path:
    """The library, compiled with the sensor's own kernels unless it is there."""
    source, kernels = HERE / "libcuda.cpp", gpu_kernels.SOURCE
    version = zlib.crc32(source.read_bytes() + kernels.read_bytes())
    path = native.folder() / f"fake-{version:08x}" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        # Without contraction a product and a sum are rounded as in numpy.
        command = ["g++", "-std=c++17", "-O3", "-ffp-contract=off", "-shared", "-fPIC"]
        command += [f"-Wl,-soname,{name}", f'-DKERNELS="{kernels}"', str(source)]
        subprocess.run([*command, "-o", unfinished], check=True, timeout=120)
        unfinished.replace(path)
    return path


def install() -> ctypes.CDLL:
    """Load the library, make the modules importable, and lay kernels where they are looked for.

    What the kernels' file holds does not matter: this GPU has them built in.
    """
    # Under another name than the real one's, which would stay in this process for all other tests.
    # Global and lazy: a real pycuda then loads, and finds here what it calls.
    library = ctypes.CDLL(str(build("fake-cuda.so")), mode=ctypes.RTLD_GLOBAL)
    reset(library)
    sys.setdlopenflags(os.RTLD_LAZY)
    with pytest.MonkeyPatch.context() as patch:
        visible(patch, library)
        importable()
    kernels = gpu_kernels.path(CAPABILITY)
    if not kernels.is_file():
        kernels.parent.mkdir(parents=True, exist_ok=True)
        kernels.write_bytes(b"built in")
    return library


def visible(patch: pytest.MonkeyPatch, library: ctypes.CDLL) -> None:
    """Let CUDA's driver be found under its name, and TensorRT be importable."""
    load = ctypes.CDLL

    def found(name: str, *given: Any, **named: Any) -> ctypes.CDLL:
        return library if name == "libcuda.so.1" else load(name, *given, **named)

    patch.setattr(ctypes, "CDLL", found)
    module = importlib.import_module("tests.fake_hardware.tensorrt")
    patch.setitem(sys.modules, "tensorrt", module)


def importable() -> None:
    """The modules here, where the real ones are not installed."""
    for name in ("pycuda", "pycuda.driver", "jetson_utils", "picamera2"):
        stand_in = importlib.import_module(f"{__name__}.{name}")
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = stand_in


def reset(library: ctypes.CDLL, *, memory: int = AMPLE, calls: int = -1) -> None:
    """A GPU in good health.

    Args:
        memory: bytes that can be allocated from now on.
        calls: so many pieces of work are accepted; then the GPU fails for good. -1: never.
    """
    library.fake_reset(ctypes.c_size_t(memory), ctypes.c_long(calls))
