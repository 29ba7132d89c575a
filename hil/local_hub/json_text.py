"""JSON from a device: strict, and whatever comes in, nothing but ValueError comes out."""

from __future__ import annotations

import json
from typing import Any


def parse(octets: bytes) -> Any:
    """UTF-8 JSON → builtins.

    Raises:
        ValueError: it is no JSON, is nested beyond reason, or holds NaN or half a surrogate pair.
    """
    try:
        value = json.loads(octets.decode("utf-8"), parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("JSON nested beyond reason") from None
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
