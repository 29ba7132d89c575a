"""Starts the two children: through execve, with one channel, a chosen environment and no more.

Vision's environment makes every allocator overwrite what it frees and keeps every library on one
thread and off the network; none of that can be set once the interpreter runs, hence the execve.

On a device the system starts them instead, each in a unit with a sandbox of its own: the supervisor
connects to a socket, and what answers has its end of the connection as standard input
(`python -m firmware.launcher vision`).
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from firmware import messages
from firmware.vision import native

Name: TypeAlias = Literal["vision", "uplink", "update"]

NAMES: tuple[Name, ...] = ("vision", "uplink", "update")

NO_CACHES = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:glibc.malloc.mmap_threshold=131072"
"""Freed blocks are joined with their neighbours at once, so that where blocks lie after a wipe does
not tell in which order and in what sizes others were freed before it. Large ones have pages of
their own, which go back to the kernel although memory is locked: glibc would keep them in the heap
once it has seen a few, and what loading the models has freed would stay resident (measured with a
720p clip: 171 MB; with one trim after loading instead, 177 MB)."""
FILL_ON_FREE = f"{NO_CACHES}:glibc.malloc.perturb=165"
"""Fallback without the preloaded library: glibc fills what is freed, all but its last 8 bytes.
Blocks that go into a cache would not be filled at all."""

_KEPT = ("PATH", "HOME", "LANG", "TZ", "FLOW_SENSOR_CACHE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_VISION = {
    "PYTHONMALLOC": "malloc",  # small objects too are freed through free()
    "PYTHONHASHSEED": "0",  # same start, same memory layout: what the byte-difference proof needs
    "ORT_DISABLE_TELEMETRY": "1",  # read when onnxruntime is imported
    "OPENBLAS_NUM_THREADS": "1",  # the stack of a parked pool thread would keep values
    "OMP_NUM_THREADS": "1",
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "threads;1",
}


UNKNOWN_STATUS = -1
"""The exit status of a child that the system started: it stands in the journal alone."""


class Running(Protocol):
    """A started child's process, as far as the supervisor needs to know it."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


@dataclass(frozen=True)
class Child:
    """A started child and the supervisor's end of its channel."""

    process: Running
    channel: socket.socket


def environment(name: Name) -> dict[str, str]:
    """Every variable that the child gets: what is not named here does not reach it."""
    variables = {key: os.environ[key] for key in _KEPT if key in os.environ}
    variables["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    variables["PYTHONSAFEPATH"] = variables["PYTHONDONTWRITEBYTECODE"] = "1"
    if name == "vision":
        variables |= _VISION
        preload = native.library(native.ZERO_ON_FREE)
        variables["GLIBC_TUNABLES"] = NO_CACHES if preload else FILL_ON_FREE
        if preload:
            variables["LD_PRELOAD"] = str(preload)
    return variables


def start(name: Name, *, variables: Mapping[str, str] | None = None) -> Child:
    """Start `python -m firmware.<name> --channel FD`.

    The child has its end of the channel and this process's standard error, and no other file. It
    is in a session of its own: a Ctrl-C at the terminal reaches the supervisor alone, which then
    stops its children in order.

    Args:
        variables: the child's whole environment instead of `environment(name)`.

    Raises:
        OSError: the system has no process or memory left.
    """
    ours, theirs = messages.pair()
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", f"firmware.{name}", "--channel", str(theirs.fileno())],
                env=dict(environment(name) if variables is None else variables),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return Child(process, ours)


class Line(socket.socket):
    """A connection to a child that the system started. It tells who speaks at its other end."""

    pid = 0  # until the child has said something

    def recv(self, size: int, flags: int = 0) -> bytes:
        packet, extra, *_ = self.recvmsg(size, socket.CMSG_SPACE(_CREDENTIALS.size), flags)
        for level, kind, content in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and packet:
                self.pid = _CREDENTIALS.unpack(content)[0]
        return packet

    def kill(self) -> None:
        """End it: a child whose channel is closed ends, and `deadline` ends one that hangs."""
        self.shutdown(socket.SHUT_RDWR)

    def wait(self, timeout: float | None = None) -> int:
        del timeout
        return UNKNOWN_STATUS


_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def connect(name: Name, folder: Path) -> Child:
    """Have the system start a child, by connecting to `<folder>/<name>`.

    Raises:
        OSError: nobody listens there.
    """
    line = Line(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        line.connect(str(folder / name))
    except OSError:
        line.close()
        raise
    return Child(line, line)


def become(name: Name) -> None:
    """Turn this process, whose standard input is the channel, into the child."""
    command = [sys.executable, "-m", f"firmware.{name}", "--channel", "0"]
    os.execve(sys.executable, command, environment(name))  # noqa: S606 - no shell


if __name__ == "__main__":
    become(next(name for name in NAMES if name in sys.argv[1:]))
