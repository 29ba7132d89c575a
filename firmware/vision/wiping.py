"""The one list of what a wipe does. Who owns a buffer wipes it; what nobody owns is done here.

Registered buffers, engines and the source are wiped by their owners. What is left are copies that
no line of ours made: blocks that numpy keeps for small arrays, numbers that the interpreter keeps
for reuse, and the dead part of the stack. Freed heap blocks need nothing: the process runs with an
allocator that overwrites them (firmware/launcher.py).
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Mapping

import numpy as np

from firmware.vision import memory, native
from firmware.vision.engine import Engine
from firmware.vision.frames import FrameSource

# numpy keeps up to 7 blocks of each size below 1024 bytes (numpy/_core/src/multiarray/alloc.c).
_SMALL_BYTES, _KEPT_BLOCKS = 1024, 7

_scrub = native.library(native.SCRUB)
_native = ctypes.PyDLL(str(_scrub)) if _scrub else None


def everything(engines: Mapping[str, Engine], source: FrameSource) -> None:
    """Nothing of any visitor remains: for an empty scene, a pause, the end. No track may be open.

    Args:
        engines: their activations hold parts of the last pictures.
        source: its decoder holds a pool of frames.
    """
    try:
        source.release()
        for engine in engines.values():
            engine.scrub()
    finally:  # an engine that failed is no reason to leave the rest
        try:
            memory.wipe()
        finally:
            residue()


def of_leavers(engines: Mapping[str, Engine]) -> None:
    """Nothing remains of who has left while others are still in view.

    Rows of ended tracks were zeroed by their owners. The detector and the decoder have long seen
    frames without the leaver; the other engines may have looked at nobody since.
    """
    for name, engine in engines.items():
        if name != "detector":
            engine.scrub()
    memory.wipe_passing()
    residue()


def residue() -> None:
    """What the interpreter, numpy and the stack keep of values that nobody holds any more."""
    gc.collect()  # also gives back dead floats, which CPython keeps with their values
    for size in range(1, _SMALL_BYTES):
        blocks = [np.zeros(size, np.uint8) for _ in range(_KEPT_BLOCKS)]
    del blocks
    if _native:
        _native.scrub_registers()
        _native.scrub_stack()


def scrubs_stack() -> bool:
    """Whether the library that scrubs the stack was built and works."""
    return bool(_native and _native.scrub_stack() > 0)
