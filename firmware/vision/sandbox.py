"""What the vision process gives up before it loads anything: being read, being paged out, the
network, the pen, other programs, and every file that is not the source, a model or a library.

Needs no root. Each step does what this kernel allows and stops at nothing: what came of it is
looked up afterwards, by behaviour, in `firmware/guarantees.py`. The steps are ordered: a user
namespace needs a single thread, memory is locked with what privilege is left, and the filter comes
last because it refuses what the others need.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from firmware.settings import Settings
from firmware.vision import native, syscall_filter

_libc = ctypes.CDLL(None, use_errno=True)

LOCK_ROOM = 1 << 30
"""Address space that must still be lockable once vision is set up, bytes: the limit counts address
space, and to meet it later would make an allocation fail in the middle of a visit."""

_CURRENT, _FUTURE, _ONFAULT = 1, 2, 4
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_CAPABILITY_VERSION_3, _CAP_IPC_LOCK = 0x20080522, 1 << 14

# Landlock, linux/landlock.h: rights on files, and its three calls (same numbers everywhere)
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_ON_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RIGHTS_OF_ABI = (0, 13, 14, 15, 15, 16)  # the first n bits; ABI 1 … 5, later ones add none


def enter(settings: Settings, models: Path) -> None:
    """Give up everything that looking at people does not need.

    Args:
        settings: names the source of frames.
        models: folder of the converted models.
    """
    uri = settings.source.uri.removeprefix("file://")
    camera = settings.source.camera
    devices = camera or settings.models.runtime == "tensorrt"  # a GPU is some nodes in /dev
    forbid_dumps()
    leave_network()
    lock_memory()
    restrict_files([models, Path(uri)] if uri and not camera else [models], devices=devices)
    filter_calls(devices=devices, unix_sockets=uri.startswith("csi://"))


def forbid_dumps() -> None:
    """No core, neither to a file nor to a pipe, and no reader of the same user."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def leave_network() -> None:
    """A network namespace without an interface; no capability but the one that locks memory.

    Root keeps its user namespace: leaving it would end the privilege to lock.
    """
    if _libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC):
        _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    held = ctypes.create_string_buffer(24)
    _libc.capget(header, held)
    kept = struct.unpack("=6I", held.raw)[1] & _CAP_IPC_LOCK  # of the permitted ones
    _libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0))


def lock_memory() -> None:
    """No page of this process, now or later, in swap. Undone when there is no room for more."""
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    _libc.mlockall(_CURRENT | _FUTURE | _ONFAULT)
    try:
        mmap.mmap(-1, LOCK_ROOM, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
    except OSError:
        _libc.munlockall()


def restrict_files(paths: Iterable[Path], *, devices: bool) -> None:
    """Landlock: read the given paths, the interpreter and the libraries; write nothing.

    A camera's node may be written and controlled. The rule stands on /dev as a whole because a
    camera that is unplugged and comes back is a new node; nothing can be created there.
    """
    abi = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return
    handled = (1 << _RIGHTS_OF_ABI[min(abi, len(_RIGHTS_OF_ABI) - 1)]) - 1
    scoped = 3 if abi >= 6 else 0  # signals and abstract sockets of other processes
    network = 3 if abi >= 4 else 0  # bind and connect over TCP
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    ruleset = struct.pack("=QQQ", handled, network, scoped)
    rules = _libc.syscall(_CREATE_RULESET, ruleset, ctypes.c_size_t(len(ruleset)), 0)
    if rules < 0:
        return
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    for path in (*_library_places(), *paths):
        _allow(rules, path, reading & handled)
    if devices:
        _allow(rules, Path("/dev"), (reading | _WRITE_FILE | _IOCTL_DEV) & handled)
    _libc.syscall(_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine; a missing source is the camera driver's to report
        return
    try:
        rights &= -1 if path.is_dir() else _ON_A_FILE
        rule = struct.pack("=Qi", rights, place)
        _libc.syscall(_ADD_RULE, rules, 1, rule, 0)
    finally:
        os.close(place)


def _library_places() -> set[Path]:
    """Where the interpreter, the packages, the system's libraries and its facts are."""
    packages = {Path(p) for p in sys.path if Path(p).name in ("site-packages", "dist-packages")}
    firmware = Path(__file__).resolve().parent.parent
    system = "/usr /lib /lib64 /etc/ld.so.cache /etc/ssl /etc/localtime /proc /sys /dev/urandom"
    return {
        firmware,
        native.folder(),
        Path(sys.prefix),
        Path(sys.base_prefix),
        *packages,
        *map(Path, system.split()),
        *map(Path, ("/dev/null", "/dev/random", "/run/udev")),
    }


def filter_calls(*, devices: bool, unix_sockets: bool) -> None:
    try:
        code = syscall_filter.program(devices=devices, unix_sockets=unix_sockets)
    except KeyError:  # an architecture without a table: the checks say that nothing is refused
        return
    lines = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_void_p))

    filter_mode = 2
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    program = Program(len(code) // 8, ctypes.addressof(lines))
    _libc.prctl(_PR_SET_SECCOMP, filter_mode, ctypes.byref(program), 0, 0)
