"""Clips are drawn out here, where portraits can be fetched; what is done with them runs apart.

A child gets a network and file systems of its own (hil/traces/rights.py) and sends its figures back
through a pipe, for no file that it writes outlasts it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from firmware.vision import native
from hil import report

_FOLDER = report.ROOT / "build" / "proof"


def run(
    module: str, words: Sequence[str], draw: Callable[[Path], None]
) -> tuple[int, dict[str, Any] | None]:
    """Run `python -m <module> <words> --inside FOLDER PIPE`.

    Args:
        draw: writes the clips into the folder that it is given.

    Returns: the child's exit status, and the figures that it sent, if any.

    Raises:
        PrivacyError: there is no C compiler.
        EngineError: the portraits cannot be fetched.
    """
    native.build()
    native.compiled(Path(__file__).with_name("same_world.c"))
    folder = _FOLDER / str(os.getpid())
    folder.mkdir(parents=True)
    try:
        draw(folder)
        ours, theirs = os.pipe()
        with subprocess.Popen(
            [sys.executable, "-m", module, *words, "--inside", str(folder), str(theirs)],
            pass_fds=[theirs],
            cwd=report.ROOT,
            # No pool of threads: only a process without one may make a user namespace. And no byte
            # code: files that the proof itself writes would be taken for the sensor's.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        ) as child:
            os.close(theirs)
            with os.fdopen(ours, "rb") as pipe:
                sent = pipe.read()
    finally:
        shutil.rmtree(folder)
    return child.returncode, json.loads(sent) if sent else None


def send(pipe: int, figures: dict[str, Any]) -> None:
    """From the child: its figures."""
    with os.fdopen(pipe, "w", encoding="utf-8") as out:
        json.dump(figures, out)


def tell(part: str) -> Callable[[str], None]:
    """Say how far a part is, with the seconds since it began."""
    began = time.monotonic()
    return lambda what: print(f"{time.monotonic() - began:6.0f} s  {part}: {what}", flush=True)
