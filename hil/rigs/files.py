"""Where the rig files are."""

from __future__ import annotations

from pathlib import Path

from firmware.errors import ConfigError

_OURS = Path(__file__).parent


def rig(name: str) -> Path:
    """The file of a rig, given by its name or by a path.

    Raises:
        ConfigError: there is none.
    """
    path = Path(name) if Path(name).suffix else _OURS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in _OURS.glob("*.yaml")))
        raise ConfigError(f"there is no rig file {path}", remedy=f"name a file, or one of {known}")
    return path
