"""Versions of an image, in order: `1.10.0` is newer than `1.9.2`."""

from __future__ import annotations

import re

from firmware.errors import UpdateError

_FORM = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")


def parse(text: str) -> tuple[int, int, int]:
    """Three numbers.

    Raises:
        UpdateError: it has another form.
    """
    found = _FORM.fullmatch(text)
    if not found:
        raise UpdateError(
            f"{text[:40]!r} is no version", remedy="give three numbers with dots, such as 1.4.0"
        )
    return int(found[1]), int(found[2]), int(found[3])
