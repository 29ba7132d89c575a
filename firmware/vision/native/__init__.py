"""The small C libraries of a wipe and its proof: built at set-up, never in the repository.

`python -m firmware.vision.native` (make native) compiles them into the cache. A library's name
holds a checksum of its source, so a stale build is never loaded. Without a compiler the launcher
falls back to glibc's own fill-on-free, and `guarantees` reports what is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import zlib
from pathlib import Path

from firmware.errors import PrivacyError

SOURCES = Path(__file__).resolve().parent
ZERO_ON_FREE, SCRUB, SEARCH = NAMES = ("zero_on_free", "scrub", "search")
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-z,now", "-Wl,-z,relro")


def library(name: str) -> Path | None:
    """The compiled library `name`, or None when it was not built from today's source."""
    path = _path(SOURCES / f"{name}.c")
    return path if path.is_file() else None


def build() -> list[Path]:
    """Compile what is missing and return the libraries' paths.

    Raises:
        PrivacyError: there is no C compiler, or it fails.
    """
    return [compiled(SOURCES / f"{name}.c") for name in NAMES]


def compiled(source: Path) -> Path:
    """The library of one C file, compiled into the cache unless it is there.

    Raises:
        PrivacyError: there is no C compiler, or it fails.
    """
    path = _path(source)
    if path.is_file():
        return path
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        raise PrivacyError(
            "there is no C compiler to build the zero-on-free library with",
            remedy="install one (apt install gcc libc6-dev) and run `make native`; until then "
            "glibc's fill-on-free is used and the stack is not scrubbed",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file of this process, then renamed: two set-ups at once do not collide.
    unfinished = path.with_suffix(f".{os.getpid()}")
    command = [compiler, *FLAGS, str(source), "-o", str(unfinished)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        unfinished.replace(path)
    except (OSError, subprocess.SubprocessError) as error:
        unfinished.unlink(missing_ok=True)
        raise PrivacyError(
            f"{compiler} cannot build {source.name} ({type(error).__name__})",
            remedy="run `make native` again after installing the C library's headers "
            "(apt install gcc libc6-dev)",
        ) from error
    return path


def folder() -> Path:
    """Where the compiled libraries are."""
    cache = os.environ.get("FLOW_SENSOR_CACHE") or Path.home() / ".cache" / "flow-sensor"
    return Path(cache).absolute() / "native"


def file_name(source: Path, machine: str) -> str:
    """What the library of a C file is called on a machine."""
    version = zlib.crc32(source.read_bytes())  # hashlib would load OpenSSL
    return f"{source.stem}-{machine}-{version:08x}.so"


def _path(source: Path) -> Path:
    return folder() / file_name(source, platform.machine())
