"""The right to read a process that may not be read, without weakening that process.

Vision is not dumpable: another process of the same user can neither trace it nor open its memory.
The kernel makes one exception, for CAP_SYS_PTRACE over the user namespace in which vision was
started. The proof makes such a namespace of its own, in which an ordinary user has every
capability over what is started there and over nothing else. (Root has it already.) With it come a
network of its own, to capture all packets, and file systems in memory in place of the shared
temporary folders, so that whatever is written there was written by the sensor.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

from firmware.errors import PrivacyError

_libc = ctypes.CDLL(None, use_errno=True)

_NEWNS, _NEWUSER, _NEWNET = 0x00020000, 0x10000000, 0x40000000
_PRIVATE_RECURSIVE = 1 << 18 | 1 << 14
_NO_RANDOM_ADDRESSES = 0x0040000
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - replaced, not used


def enter_own_namespaces() -> None:
    """Private network and temporary folders, and the right to trace what is started from here.

    Needs a single thread; nothing undoes it.

    Raises:
        PrivacyError: this kernel or container does not allow it.
    """
    if _libc.unshare(_NEWNS | _NEWNET):
        _become_root_of_a_namespace()
    _mount(None, Path("/"), None, _PRIVATE_RECURSIVE)
    for folder in SHARED:
        _mount(b"tmpfs", folder, b"tmpfs", 0)
    _loopback_up()


def _become_root_of_a_namespace() -> None:
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_NEWUSER | _NEWNS | _NEWNET):
        raise PrivacyError(
            f"no user namespace can be made here ({os.strerror(ctypes.get_errno())})",
            remedy="allow them (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu also "
            "kernel.apparmor_restrict_unprivileged_userns=0), or run the proof on another machine",
        )
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {user} 1"),
        ("gid_map", f"0 {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(line)


def fix_addresses(fixed: bool) -> None:
    """Start children with the same addresses every time, or at random ones as always."""
    if _libc.personality(_NO_RANDOM_ADDRESSES if fixed else 0) < 0:
        raise PrivacyError(
            "address randomisation cannot be switched off for the comparison",
            remedy="run the proof outside a container that forbids personality(2)",
        )


def _mount(source: bytes | None, target: Path, kind: bytes | None, flags: int) -> None:
    if _libc.mount(source, bytes(target), kind, ctypes.c_ulong(flags), None):
        raise PrivacyError(
            f"{target} cannot be replaced for the proof ({os.strerror(ctypes.get_errno())})",
            remedy="run the proof outside a container that forbids mounting",
        )


def _loopback_up() -> None:
    set_flags, up = 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", up))
