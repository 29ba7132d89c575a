"""Vision with one thing taken away: what the proof must notice, to be worth anything."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from firmware import launcher


def start(
    code: str = "", variables: Mapping[str, str | None] | None = None, *, like: Mapping[str, str]
) -> launcher.Child:
    """Start vision as the supervisor does, with other code or another environment.

    Args:
        code: Python that runs before anything of vision, such as an import and an assignment.
        variables: variables to set, or with None to take away.
        like: the environment that this alters.

    Raises:
        OSError: the system has no process or memory left.
    """
    wanted = {**like, **(variables or {})}
    if code:
        # Named by what it does: memory holds the name, and must not differ from run to run.
        folder = Path(tempfile.gettempdir(), f"altered-{zlib.crc32(code.encode()):08x}")
        folder.mkdir(exist_ok=True)
        # The interpreter imports this module by itself, before the program that it is to run.
        (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
        wanted["PYTHONPATH"] = f"{folder}:{like['PYTHONPATH']}"
    given = {name: value for name, value in wanted.items() if value is not None}
    return launcher.start("vision", variables=given)
