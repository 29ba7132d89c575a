"""Holds a process at the end of a turn of its loop, by ptrace, so that it can be read at rest.

Vision asks its channel once at the end of each turn, after sealing and wiping. Stopping it at that
call, and nowhere else, makes "after the wipe" one exact place and lets two runs be compared.
Nothing in vision takes part in this or knows of it; the right to do it comes from the namespace
in which the proof started vision, see hil/traces/rights.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from firmware.errors import PrivacyError

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long

_SYSCALL, _DETACH, _SEIZE, _INTERRUPT, _SYSCALL_INFO = 24, 17, 0x4206, 0x4207, 0x420E
_TRACE_GOOD, _ENTRY, _EXIT = 1, 1, 2
_POLL = {"x86_64": 7, "aarch64": 73}  # poll; ppoll, which the C library uses in its place
_EXIT_GROUP = {"x86_64": 231, "aarch64": 94}
_PATIENCE_S = 60.0


def held_from_rest(pid: int, clip: Path, resume: Callable[[], object]) -> Held:
    """Hold vision when it rests, and again at the end of the first turn after `resume`.

    Vision that was told to pause looks at one frame, lets its clip go and rests.

    Raises:
        PrivacyError: it may not be traced, has ended, or does not come to rest.
    """
    patience = time.monotonic() + _PATIENCE_S
    while _reads(pid, clip) or not _waits(pid):
        if time.monotonic() > patience:
            raise PrivacyError(
                "vision does not come to rest", remedy="run the proof on a machine with less to do"
            )
        time.sleep(0.01)
    held = Held(pid)
    resume()
    while not _reads(pid, clip):
        held.to_poll()
    return held


def _waits(pid: int) -> bool:
    """Whether a process waits for a message now."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith(f"{_POLL[platform.machine()]} ")


def _reads(pid: int, clip: Path) -> bool:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it runs on, and has closed it meanwhile
            if file.readlink() == clip:
                return True
    return False


class Held:
    """A process that runs only while `turn`, `to_poll` or `to_exit` is under way.

    Raises:
        PrivacyError: it may not be traced, or has ended.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.turns = 0
        self._machine = platform.machine()
        self._call = -1
        self._heard = False
        self._ptrace(_SEIZE, _TRACE_GOOD)
        self._ptrace(_INTERRUPT)
        self._status = self._wait()

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not os.WIFEXITED(self._status) and not os.WIFSIGNALED(self._status):
            self._ptrace(_DETACH)

    def turn(self, times: int = 1) -> bool:
        """Let it run to the end of a turn, so many times. False when it ended before that.

        When its channel has a message, vision obeys it and asks again in the same turn.
        """
        for _ in range(times):
            self._heard = True
            while self._heard:
                if not self.to_poll():
                    return False
            self.turns += 1
        return True

    def to_poll(self) -> bool:
        """Let it run until it asks its channel. False when it ended before that."""
        return self._run_to(_POLL[self._machine])

    def crash(self) -> bool:
        """End it by a broken access to memory. Returns whether the kernel wrote a core."""
        os.kill(self.pid, signal.SIGSEGV)
        while self.turn():
            pass
        return os.WCOREDUMP(self._status)

    def to_exit(self) -> bool:
        """Let it run until it is about to leave. False when it was killed before that."""
        return self._run_to(_EXIT_GROUP[self._machine])

    def _run_to(self, call: int) -> bool:
        forward = 0
        self._heard = False
        while True:
            self._ptrace(_SYSCALL, forward)
            self._status = self._wait()
            if not os.WIFSTOPPED(self._status):
                return False
            stopped_by = os.WSTOPSIG(self._status)
            forward = 0
            if stopped_by == signal.SIGTRAP | 0x80:
                if self._entered() == call:
                    return True
            elif self._status >> 16 == 0:  # a signal on its way, not an event of ptrace's own
                # A deadline that passed while it was held is not its fault (firmware/deadline.py).
                forward = 0 if stopped_by == signal.SIGALRM else stopped_by

    def _entered(self) -> int:
        """Number of the call that is being entered, or -1 when one is being left."""
        info = (ctypes.c_uint8 * 88)()
        _libc.ptrace(_SYSCALL_INFO, self.pid, ctypes.c_void_p(len(info)), info)
        number_or_result = int.from_bytes(bytes(info[24:32]), "little", signed=True)
        if info[0] == _ENTRY:
            self._call = number_or_result
            return self._call
        if info[0] == _EXIT and self._call == _POLL[self._machine]:
            self._heard = number_or_result > 0
        return -1

    def _wait(self) -> int:
        wait_all = 0x40000000
        return os.waitpid(self.pid, wait_all)[1]

    def _ptrace(self, request: int, data: int = 0) -> None:
        if _libc.ptrace(request, self.pid, None, ctypes.c_void_p(data)) < 0:
            raise PrivacyError(
                f"process {self.pid} cannot be held ({os.strerror(ctypes.get_errno())})",
                remedy="run the proof through `make proof`, on a kernel with user namespaces",
            )
