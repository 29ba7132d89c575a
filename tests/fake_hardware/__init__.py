"""Hardware that is not here: a GPU as CUDA's driver library, and the vendors' modules on top of it.

`install` loads a `libcuda.so.1` made of ordinary memory (libcuda.cpp) into this process, under that
name, so that whatever asks for CUDA's driver gets it. The modules in this folder stand in for
pycuda, tensorrt and jetson_utils where the real ones are not installed; mypy holds them to the
stubs of the real ones.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import zlib
from pathlib import Path

from firmware.drivers import gpu_kernels
from firmware.vision import native

HERE = Path(__file__).resolve().parent
CAPABILITY = (8, 7)
AMPLE = 1 << 32


def build() -> Path:
    """The library, compiled with the sensor's own kernels unless it is there."""
    source, kernels = HERE / "libcuda.cpp", gpu_kernels.SOURCE
    version = zlib.crc32(source.read_bytes() + kernels.read_bytes())
    path = native.folder() / f"fake-{version:08x}" / "libcuda.so.1"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        # Without contraction a product and a sum are rounded as in numpy.
        flags = [
            "-std=c++17",
            "-O2",
            "-ffp-contract=off",
            "-shared",
            "-fPIC",
            "-Wl,-soname,libcuda.so.1",
        ]
        define = f'-DKERNELS="{kernels}"'
        subprocess.run(["g++", *flags, define, "-o", unfinished, source], check=True, timeout=120)
        unfinished.replace(path)
    return path


def install() -> ctypes.CDLL:
    """Load the library, make the modules importable, and lay kernels where they are looked for.

    What the kernels' file holds does not matter: this GPU has them built in.
    """
    library = ctypes.CDLL(str(build()))
    reset(library)
    importable()
    kernels = gpu_kernels.path(CAPABILITY)
    if not kernels.is_file():
        kernels.parent.mkdir(parents=True, exist_ok=True)
        kernels.write_bytes(b"built in")
    return library


def importable() -> None:
    """The modules here, after the real ones where those are installed."""
    if str(HERE) not in sys.path:
        sys.path.append(str(HERE))


def reset(library: ctypes.CDLL, *, memory: int = AMPLE, calls: int = -1) -> None:
    """A GPU in good health.

    Args:
        memory: bytes that can be allocated from now on.
        calls: so many pieces of work are accepted; then the GPU fails for good. -1: never.
    """
    library.fake_reset(ctypes.c_size_t(memory), ctypes.c_long(calls))
