"""Wall clock and monotonic clock side by side: is the time trusted, and has it jumped?"""

from __future__ import annotations

import ctypes
import time

_STA_UNSYNC = 0x0040
_JUMP_S = 2


def synchronised() -> bool:
    """Whether the kernel's clock is disciplined by a time source (`adjtimex(2)`, STA_UNSYNC)."""
    buffer = (ctypes.c_long * 64)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(buffer) < 0:
        return False
    # struct timex: modes, offset, freq, maxerror, esterror, status (an int at the sixth long)
    return not (buffer[5] & 0xFFFFFFFF) & _STA_UNSYNC


class JumpWatch:
    """Notices when the wall clock was set while the device ran."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def jump_s(self) -> int:
        """Seconds that the wall clock was moved since the last call; 0 below two seconds."""
        offset = time.time() - time.monotonic()
        moved, self._offset = offset - self._offset, offset
        return round(moved) if abs(moved) >= _JUMP_S else 0
