"""A device twin's properties: versions, merge patches and IoT Hub's limits.

Limits as in "Understand and use device twins in IoT Hub" (Microsoft, 2024): 32 KB for desired and
for reported properties, ten levels, keys of at most 1 KB without control characters, `.`, `$` and
space, strings of at most 4 KB, integers of at most 52 bits. Size counts keys and strings as UTF-8,
8 octets for a number and 4 for a boolean.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_SIZE = 32 * 1024
MAX_DEPTH = 10
MAX_KEY = 1024
MAX_STRING = 4096
MAX_INTEGER = 1 << 52


class TwinError(Exception):
    """A patch that IoT Hub would answer with status 400; nothing of it was applied."""


@dataclass(slots=True)
class Properties:
    """One half of a twin. `version` rises by one with every patch."""

    values: dict[str, Any] = field(default_factory=dict)
    version: int = 1

    def patch(self, patch: object) -> None:
        """Merge a patch (null deletes, objects merge, the rest replaces).

        Raises:
            TwinError: the patch is no object or breaks a limit.
        """
        if not isinstance(patch, dict):
            raise TwinError("a patch must be a JSON object")
        patch = {key: value for key, value in patch.items() if key != "$version"}
        _check(patch)
        merged = _merged(self.values, patch)
        if (size := _size(merged)) > MAX_SIZE:
            raise TwinError(f"properties of {size} octets are over the limit of {MAX_SIZE}")
        self.values = merged
        self.version += 1

    def as_seen(self) -> dict[str, Any]:
        """The values with `$version` beside them, as device and service read them."""
        return {**copy.deepcopy(self.values), "$version": self.version}


def _check(patch: Mapping[str, Any]) -> None:
    rest: list[tuple[Any, int]] = [(patch, 0)]
    while rest:
        value, depth = rest.pop()
        if isinstance(value, (dict, list)):
            if depth > MAX_DEPTH:
                raise TwinError(f"more than {MAX_DEPTH} levels")
            if isinstance(value, dict):
                for key in value:
                    _check_key(key)
            rest.extend(
                (one, depth + 1) for one in (value.values() if isinstance(value, dict) else value)
            )
        elif isinstance(value, str):
            if len(value.encode()) > MAX_STRING:
                raise TwinError(f"a string over {MAX_STRING} octets")
        elif isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
            raise TwinError("an integer over 52 bits")


def _check_key(key: str) -> None:
    if not key or len(key.encode()) > MAX_KEY or any(c in ".$ " or ord(c) < 32 for c in key):
        raise TwinError(f"the key {key[:40]!r} is empty, too long or holds a forbidden character")


def _merged(values: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _size(value: object) -> int:
    if isinstance(value, dict):
        return sum(len(key.encode()) + _size(one) for key, one in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    if isinstance(value, str):
        return len(value.encode())
    return 4 if isinstance(value, bool) else 8
