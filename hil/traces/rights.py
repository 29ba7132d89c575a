"""The right to read a process that may not be read, without weakening that process.

Vision is not dumpable: another process of the same user can neither trace it nor open its memory.
The kernel makes one exception, for CAP_SYS_PTRACE over the user namespace in which vision was
started. The proof makes such a namespace of its own, in which an ordinary user has every
capability over what is started there and over nothing else. (Root has it already.) With it come a
network of its own, which holds no interface but the loopback, and over every folder a layer in
memory that takes all that is written, so that nothing the sensor writes escapes the count and
nothing that others write on this machine gets into it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import socket
import struct
from pathlib import Path

from firmware.errors import PrivacyError

_libc = ctypes.CDLL(None, use_errno=True)

_NEWNS, _NEWUSER, _NEWNET = 0x00020000, 0x10000000, 0x40000000
_PRIVATE_RECURSIVE = 1 << 18 | 1 << 14
_NO_RANDOM_ADDRESSES = 0x0040000
_SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - replaced, not used
_KERNELS = (Path("/proc"), Path("/sys"), Path("/dev"))
OWN = Path("/media")
"""In memory, for the proof's own files; any folder that no sensor needs would do."""
_LEDGER = OWN / "ledger"
HOME = OWN / "home"
"""A fresh home for the sensor; what is written there counts as written by it."""


def enter_own_namespaces() -> list[Path]:
    """A network and file systems of its own, and the right to trace what is started from here.

    Needs a single thread; nothing undoes it.

    Returns: folders over which no layer could be laid; what is written there is not seen.

    Raises:
        PrivacyError: this kernel or container does not allow it, or the program or its home lies
            in a folder that is replaced.
    """
    for needed in (Path.cwd(), Path.home()):
        if any(folder in (needed, *needed.parents) for folder in _SHARED):
            raise PrivacyError(
                f"{needed} would be hidden by an empty folder of the proof's own",
                remedy=f"keep it outside {', '.join(map(str, _SHARED))}",
            )
    if _libc.unshare(_NEWNS | _NEWNET):
        _become_root_of_a_namespace()
    _mount(None, Path("/"), None, _PRIVATE_RECURSIVE)
    _mount(b"tmpfs", OWN, b"tmpfs", 0)
    uncovered = _cover(Path("/"), _mount_points())
    for folder in _SHARED:  # an ordinary user could not write into a layer over another's folder
        _mount(b"tmpfs", folder, b"tmpfs", 0)
    os.chdir(Path.cwd())  # it was below the layer until now, and so were relative paths
    HOME.mkdir()
    _loopback_up()
    return uncovered


def written() -> list[Path]:
    """Every file that was made, changed or removed since, apart from those under `OWN`."""
    folders = (_LEDGER / "written", HOME, *_SHARED)
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    ]


def _cover(folder: Path, mounted: list[Path]) -> list[Path]:
    """Lay a layer in memory over a folder or, where others are mounted in it, over its folders."""
    if folder in (OWN, *_KERNELS, *_SHARED):
        return []
    if any(folder in place.parents for place in mounted):
        inner = [
            path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()
        ]
        return [each for path in inner for each in _cover(path, mounted)]
    layer, work = (_LEDGER / name / folder.relative_to("/") for name in ("written", "work"))
    layer.mkdir(parents=True)
    work.mkdir(parents=True)
    layer.chmod(folder.stat().st_mode & 0o7777)
    options = f"lowerdir={folder},upperdir={layer},workdir={work}"
    failed = _libc.mount(b"overlay", bytes(folder), b"overlay", ctypes.c_ulong(0), options.encode())
    return [folder] if failed else []


def _mount_points() -> list[Path]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [Path(re.sub(r"\\(\d{3})", _octal, line.split()[1])) for line in lines]


def _octal(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))


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
