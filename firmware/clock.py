"""Wall clock and monotonic clock side by side: is the time trusted, and has it jumped?"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import NamedTuple

_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_STA_UNSYNC, _STA_NANO = 0x0040, 0x2000
_JUMP_S = 2


class Discipline(NamedTuple):
    """How the kernel's clock stands to its time source (`adjtimex(2)`).

    Attributes:
        synchronised: whether it is disciplined by one.
        offset_us: what is still to be corrected, positive while the clock is behind.
        error_ms: by how much it may be wrong at most; 16,000 and more without a source.
    """

    synchronised: bool
    offset_us: int
    error_ms: int


def discipline() -> Discipline:
    """Ask the kernel or, where a sandbox refuses that (systemd's ProtectClock does), look at what
    systemd-timesyncd has left; figures are then 0."""
    buffer = (ctypes.c_long * 64)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(buffer) < 0:
        return Discipline(synchronised=_TIMESYNCD.exists(), offset_us=0, error_ms=0)
    # struct timex: modes, offset, freq, maxerror, esterror, status (an int at the sixth long)
    _, offset, _, error_us, _, status = buffer[:6]
    return Discipline(
        synchronised=not status & _STA_UNSYNC,
        offset_us=offset // 1000 if status & _STA_NANO else offset,
        error_ms=error_us // 1000,
    )


def synchronised() -> bool:
    """Whether the kernel's clock is disciplined by a time source."""
    return discipline().synchronised


class JumpWatch:
    """Notices when the wall clock was set while the device ran."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def jump_s(self) -> int:
        """Seconds that the wall clock was moved since the last call; 0 below two seconds."""
        offset = time.time() - time.monotonic()
        moved, self._offset = offset - self._offset, offset
        return round(moved) if abs(moved) >= _JUMP_S else 0
