"""An ordinary user without privileges, also where the tests run as root; started as a program.

`python -m tests.privacy.ordinary WORDS…` gives up every capability for good and runs the words in
its place: what root may do to others is then refused as it is to anybody.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_SET_SECUREBITS, _NO_ROOT_LOCKED = 28, 0b11
_CAPABILITY_VERSION_3 = 0x20080522

if __name__ == "__main__":
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() == 0 and libc.prctl(_SET_SECUREBITS, _NO_ROOT_LOCKED, 0, 0, 0):
        sys.exit(f"root cannot become ordinary: {os.strerror(ctypes.get_errno())}")
    header, none = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", *[0] * 6)
    if libc.capset(header, none):
        sys.exit("capabilities cannot be given up")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
