"""The seccomp filter of the vision process: no network, no pen, no other program, no way back.

A list of what is refused, not of what is allowed: the calls that an inference runtime, a decoder
and a camera driver need differ between libraries, kernels and boards; those that could carry a
picture out of the process's own memory are few and known. A refused call fails with EPERM, so a
library that merely tried goes on. Numbers: asm/unistd_64.h and asm-generic/unistd.h of Linux 6.
"""

from __future__ import annotations

import errno
import os
import platform
import socket
import struct
from typing import Final

_X86_64: Final = "x86_64"
_COLUMNS = {_X86_64: (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine → column of the tables below, AUDIT_ARCH constant."""

_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # another connection than the inherited channel
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # a pen: names, contents and attributes of files (open itself is judged by its flags)
    "creat": (85, None),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    # kernel objects that outlive the process or that others can read
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "vmsplice": (278, 75),
    # another program, or the memory of another process
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    # a way back out of what was set up
    "setns": (308, 268),
    "unshare": (272, 97),
    "mount": (165, 40),
    "open_by_handle_at": (304, 265),
    "munlock": (150, 229),
    "munlockall": (152, 231),
}
_ABSENT = {"openat2": 437, "clone3": 435, "fchmodat2": 452, "setxattrat": 463}
"""Calls whose arguments stand in memory, where a filter cannot look, or that are newer than most
kernels: they answer ENOSYS and the C library takes the older form."""

_SOCKET, _OPEN, _OPENAT = (41, 198), (2, None), (257, 56)
_CLONE, _PRCTL = (56, 220), (157, 167)

_NAMELESS = os.O_TMPFILE & ~os.O_DIRECTORY
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | _NAMELESS
_CLONE_THREAD, _PR_SET_DUMPABLE = 0x10000, 4

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCH_AT = 0, 4


def program(machine: str | None = None, *, devices: bool, unix_sockets: bool) -> bytes:
    """The filter as an array of `struct sock_filter`, 8 bytes each.

    Args:
        machine: as `platform.machine()` names it; this machine when not given.
        devices: whether device nodes may be opened for reading and writing (a camera); creating
            and truncating stay refused.
        unix_sockets: whether local sockets may be made (the camera service of a Jetson).

    Raises:
        KeyError: the machine is neither x86_64 nor aarch64.
    """
    machine = machine or platform.machine()
    column, architecture = _COLUMNS[machine]
    lines = [
        _line(_LOAD, _ARCH_AT),
        _line(_EQUAL, architecture, 1, 0),
        _line(_RETURN, _KILL),  # a 32-bit call would carry other numbers
        _line(_LOAD, _NUMBER_AT),
    ]
    refuse = _line(_RETURN, _ERROR | errno.EPERM)
    if machine == _X86_64:  # the x32 form of every call, from this number on
        lines += [_line(_AT_LEAST, 0x40000000, 0, 1), refuse]
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            lines += [_line(_EQUAL, number, 0, 1), refuse]
    for number in _ABSENT.values():
        lines += [_line(_EQUAL, number, 0, 1), _line(_RETURN, _ERROR | errno.ENOSYS)]

    def judge(
        numbers: tuple[int | None, int | None],
        argument: int,
        test: int,
        value: int,
        *,
        when_true: bytes,
        otherwise: bytes,
    ) -> None:
        """Decide call `numbers[column]` by the low half of one argument."""
        if (number := numbers[column]) is not None:
            lines.extend(
                (
                    _line(_EQUAL, number, 0, 4),
                    _line(_LOAD, 16 + 8 * argument),
                    _line(test, value, 0, 1),
                    when_true,
                    otherwise,
                )
            )

    allow = _line(_RETURN, _ALLOW)
    writing = _WRITING & ~os.O_RDWR if devices else _WRITING
    judge(_OPEN, 1, _ANY_BIT, writing, when_true=refuse, otherwise=allow)
    judge(_OPENAT, 2, _ANY_BIT, writing, when_true=refuse, otherwise=allow)
    judge(_CLONE, 0, _ANY_BIT, _CLONE_THREAD, when_true=allow, otherwise=refuse)
    judge(_PRCTL, 0, _EQUAL, _PR_SET_DUMPABLE, when_true=refuse, otherwise=allow)
    family = socket.AF_UNIX if unix_sockets else 0xFFFFFFFF
    judge(_SOCKET, 0, _EQUAL, family, when_true=allow, otherwise=refuse)
    return b"".join((*lines, allow))


def _line(code: int, value: int, when_true: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, otherwise, value)
