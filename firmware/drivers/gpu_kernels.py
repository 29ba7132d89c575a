"""kernels.cu, compiled for one kind of GPU when the sensor is set up.

`python -m firmware.drivers.gpu_kernels 8.7` compiles with NVIDIA's nvcc into the cache. The sensor
loads what it finds there: vision may run no compiler and write no file. A file's name holds a
checksum of the source, so a stale build is never loaded.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

from firmware.errors import EngineError
from firmware.vision import native

SOURCE = Path(__file__).with_name("kernels.cu")
_FLAGS = ("-cubin", "-O3")


def path(capability: tuple[int, int]) -> Path:
    """Where the kernels for a GPU of this compute capability lie, built or not."""
    major, minor = capability
    version = zlib.crc32(SOURCE.read_bytes())
    return native.folder() / f"kernels-sm_{major}{minor}-{version:08x}.cubin"


def read(capability: tuple[int, int]) -> bytes:
    """The kernels for a GPU of this compute capability.

    Raises:
        EngineError: they were not built.
    """
    try:
        return path(capability).read_bytes()
    except OSError as error:
        major, minor = capability
        raise EngineError(
            f"the kernels for a GPU of compute capability {major}.{minor} were not built",
            remedy=f"run `python -m firmware.drivers.gpu_kernels {major}.{minor}` where nvcc is",
        ) from error


def build(capability: tuple[int, int]) -> Path:
    """Compile the kernels into the cache unless they are there.

    Raises:
        EngineError: there is no nvcc, or it refuses this kind of GPU.
    """
    target = path(capability)
    if target.is_file():
        return target
    compiler = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if compiler is None:
        raise EngineError(
            "there is no nvcc to build the GPU's kernels with",
            remedy="install CUDA's compiler (apt install cuda-nvcc-12-6 on JetPack 6, or pip "
            "install nvidia-cuda-nvcc)",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    major, minor = capability
    command = [compiler, *_FLAGS, f"-arch=sm_{major}{minor}", "-o", str(unfinished), str(SOURCE)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        unfinished.replace(target)
    except (OSError, subprocess.SubprocessError) as error:
        unfinished.unlink(missing_ok=True)
        raise EngineError(
            f"nvcc cannot build the kernels for compute capability {major}.{minor}",
            remedy="ask `nvcc --list-gpu-arch` which ones it knows; a Jetson Orin is 8.7",
        ) from error
    return target


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m firmware.drivers.gpu_kernels")
    parser.add_argument(
        "capability", nargs="+", metavar="M.N", help="compute capability, such as 8.7"
    )
    try:
        for text in parser.parse_args().capability:
            major, _, minor = text.partition(".")
            if not (major.isdigit() and minor.isdigit()):
                parser.error(f"{text} is no compute capability such as 8.7")
            print(f"kernels: {build((int(major), int(minor)))}")
    except EngineError as error:
        print(f"kernels: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
