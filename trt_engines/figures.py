"""build/reports/engines.json: several commands, each of which measures a part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hil import report

NAME = "engines"
_PARTS: dict[str, Any] = {"engines": [], "parity": [], "bench": [], "gpu": None}


def merge(**parts: Any) -> Path:
    """Replace these parts of the report and keep the others; in `engines`, keep other rows.

    A row of `engines` replaces the one of the same model, input, target and precision.

    Returns: the report's path.
    """
    known = {name: _known().get(name, empty) for name, empty in _PARTS.items()}
    if "engines" in parts:
        new = {_key(row) for row in parts["engines"]}
        kept = [row for row in known["engines"] if _key(row) not in new]
        parts["engines"] = [*kept, *parts["engines"]]
    return report.write(NAME, {**known, **parts})


def _known() -> dict[str, Any]:
    try:
        found = json.loads((report.REPORTS / f"{NAME}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["model"], tuple(row["input"]), row["target"], row["precision"]
