"""Which lines of the program a clip makes it run, and how long the records come to be.

The byte difference takes for granted that two clips differ in pixels alone. One candidate more for
a face, and the loop over candidates makes one object more: blocks of the heap are then dealt in
another order, which looks like a trace and is none. A record that says `high` in place of `medium`
is shorter, and does the same.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

import firmware
from firmware.record import Interaction
from hil.traces.forms import Twin
from hil.traces.subject import rules

_FIRMWARE = str(Path(firmware.__file__).parent)


def of(clip: Path, frames: int) -> bytes:
    """Digest of the lines of `firmware` that run, in order, up to a frame of the clip, and of the
    records of those who were seen until then but for the figures in them.

    Raises:
        CameraError, EngineError: as vision would raise them.
    """
    digest = hashlib.sha256()

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            digest.update(b"%d " % frame.f_lineno)
        return line

    def call(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_FIRMWARE):
            return None
        digest.update(name.encode())
        return line(frame, event, None)

    twin = Twin(rules(clip))
    before = sys.gettrace()  # a debugger's, or that of the tests' coverage
    sys.settrace(call)
    try:
        records: list[Interaction] = []
        for turn in twin.turns():
            records += turn.ended
            if turn.frame >= frames:
                break
        records += twin.pipeline.finish()
    finally:
        sys.settrace(before)
        twin.close()
    for record in records:
        digest.update(re.sub(rb"\d", b"0", msgspec.json.encode(record)))
    return digest.digest()
