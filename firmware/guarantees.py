"""The privacy guarantees of the vision process, each looked up by what the process can still do.

`check` runs inside vision when everything is loaded; `doctor` runs it in a process that was
started and confined the same way, without camera, models or hub. A setting that was asked for
proves nothing: the checks free memory and read it again, open sockets and files, and fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from firmware import launcher, settings
from firmware.errors import PrivacyError
from firmware.messages import Guarantee
from firmware.settings import Settings
from firmware.vision import models, sandbox, wiping

_libc = ctypes.CDLL(None, use_errno=True)
_libc.malloc.restype = _libc.realloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]

_LINKS = 16  # the allocator's own list pointers stand in the first bytes of a freed block
_MARK = 0xAB
# A run, not one byte: whoever has a block next may write such a byte by chance. Made here once: one
# that a check made would lie where it looks whenever the heap has no better place.
_MARKS = bytes([_MARK]) * 8
_KERNEL = "run on Linux 5.13 or newer with seccomp and Landlock, on x86_64 or aarch64"


def check(current: Settings) -> tuple[Guarantee, ...]:
    """Look up every guarantee in this process; nothing is written, sent or left changed."""
    camera_service = current.source.uri.startswith("csi://")
    checks: tuple[tuple[str, Callable[[], bool], str], ...] = (
        (
            "zero_on_free",
            _heap_is_overwritten,
            "glibc's fill-on-free is in its place, which spares the last 8 bytes of a block: "
            "install a C compiler and run `make native`",
        ),
        (
            "small_objects",
            _objects_are_overwritten,
            "let the supervisor start vision: it sets PYTHONMALLOC=malloc",
        ),
        ("stack_scrub", wiping.scrubs_stack, "install a C compiler and run `make native`"),
        (
            "memory_locked",
            _memory_is_locked,
            "raise the limit on locked memory (LimitMEMLOCK=infinity in the unit, `memlock` in "
            "limits.conf, --ulimit memlock=-1 in a container)",
        ),
        ("no_core", lambda: resource.getrlimit(resource.RLIMIT_CORE) == (0, 0), _KERNEL),
        ("not_readable", _nobody_reads, "end the debugger or tracer that holds this process"),
        ("no_network", lambda: not any(map(_can_open, _families(camera_service))), _KERNEL),
        ("no_pen", lambda: not _can_write(), _KERNEL),
        ("no_other_program", lambda: not _can_fork() and not _can_execute(), _KERNEL),
        (
            "keys_out_of_reach",
            lambda: not _can_list(current.identity.directory) and not _can_read("/etc/passwd"),
            "enable Landlock in the kernel (lsm=landlock,…), or run the systemd units",
        ),
        (
            "one_thread",
            lambda: _status("Threads") == 1,
            "let the supervisor start vision: it keeps every library on one thread",
        ),
        (
            "telemetry_off",
            lambda: os.environ.get("ORT_DISABLE_TELEMETRY") == "1",
            "let the supervisor start vision: it sets ORT_DISABLE_TELEMETRY=1",
        ),
    )
    found = ((name, holds(), remedy) for name, holds, remedy in checks)
    return tuple(Guarantee(name, holds, "" if holds else remedy) for name, holds, remedy in found)


def require(guarantees: Iterable[Guarantee]) -> None:
    """Refuse to go on when one does not hold (`[privacy] strict = true`).

    Raises:
        PrivacyError: names those that do not hold, with what to do about each.
    """
    broken = [guarantee for guarantee in guarantees if not guarantee.holds]
    if broken:
        raise PrivacyError(
            f"not guaranteed: {', '.join(guarantee.name for guarantee in broken)}",
            remedy="; ".join(dict.fromkeys(guarantee.remedy for guarantee in broken)),
        )


def doctor(current: Settings) -> tuple[Guarantee, ...]:
    """The guarantees as they would hold on this machine. Needs no camera, model or hub.

    Raises:
        PrivacyError: a confined process does not even start here.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "firmware.guarantees"],
            env=launcher.environment("vision"),
            input=json.dumps(settings.builtins(current)).encode(),
            capture_output=True,
            check=True,
            timeout=60,
        )
        return msgspec.json.decode(done.stdout, type=tuple[Guarantee, ...])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        raise PrivacyError(
            f"a confined process does not start on this machine ({type(error).__name__})",
            remedy="run `make setup` and `make native` again",
        ) from error


def _heap_is_overwritten() -> bool:
    """Every byte of freed and of moved blocks, in amounts that glibc does not give back at once."""

    def spoiled(block: int, size: int) -> bool:
        return _MARKS in ctypes.string_at(block + _LINKS, size - _LINKS)

    for size in (24, 200):
        blocks = [_libc.malloc(size) for _ in range(64)]
        for block in blocks:
            ctypes.memset(block, _MARK, size)
        # A block that is joined with a free one behind it keeps what glibc's own fill spares.
        for block in blocks[1::2] + blocks[::2]:
            _libc.free(block)
        if any(spoiled(block, size) for block in blocks):
            return False
    block = _libc.malloc(200)
    ctypes.memset(block, _MARK, 200)
    moved = _libc.realloc(block, 4000)
    gone = not spoiled(block, 200)
    _libc.free(moved)
    return gone


def _objects_are_overwritten() -> bool:
    """A small Python object's payload, after its last reference has gone."""
    thing = bytes([_MARK]) * 100
    address = id(thing) + bytes.__basicsize__ - 1
    del thing
    return _MARKS not in ctypes.string_at(address, 100)


def _memory_is_locked() -> bool:
    """A page that is mapped now is locked at once, and none of this process is in swap."""
    before = _status("VmLck")
    with mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
        return _status("VmLck") > before and _status("VmSwap") == 0


def _nobody_reads() -> bool:
    get_dumpable = 3
    return _libc.prctl(get_dumpable, 0, 0, 0, 0) == 0 and _status("TracerPid") == 0


def _families(camera_service: bool) -> list[socket.AddressFamily]:
    return [f for f in socket.AddressFamily if not (camera_service and f is socket.AF_UNIX)]


def _can_open(family: socket.AddressFamily) -> bool:
    """An address family that this kernel lacks is refused in another way than by the filter, but
    is refused."""
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError as error:
        return error.errno == errno.EPROTONOSUPPORT  # known family, another type would do
    return True


def _can_write() -> bool:
    folders = {Path.cwd(), Path.home(), models.cache_directory()}
    folders |= {Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")}  # noqa: S108 - nothing is kept
    for folder in folders:
        probe = folder / f".flow-sensor-{os.getpid()}"
        with contextlib.suppress(OSError):
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            probe.unlink()
            return True
    with contextlib.suppress(OSError):
        os.close(os.open(__file__, os.O_RDWR))
        return True
    with contextlib.suppress(OSError):
        os.close(os.memfd_create("probe"))
        return True
    return False


def _can_fork() -> bool:
    try:
        child = os.fork()
    except OSError:
        return False
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _can_execute() -> bool:
    try:
        os.execv("/nonexistent", ["nonexistent"])  # noqa: S606 - cannot succeed
    except OSError as error:
        return error.errno != errno.EPERM


def _can_list(folder: str) -> bool:
    try:
        next(Path(folder).iterdir(), None)
    except OSError:
        return False
    return True


def _can_read(path: str) -> bool:
    try:
        Path(path).read_bytes()
    except OSError:
        return False
    return True


def _status(key: str) -> int:
    """A number of /proc/self/status; kB where it is a size."""
    text = bytearray(8192)  # as much whatever it says, so that the heap does not follow its length
    with Path("/proc/self/status").open("rb", buffering=0) as file:
        file.readinto(text)
    found = re.search(rf"^{key}:\s*(\d+)".encode(), text, re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    asked = settings.check(json.load(sys.stdin))
    sandbox.enter(asked, models.directory(asked.models.directory))
    sys.stdout.buffer.write(msgspec.json.encode(check(asked)))
