"""Scenes with a given number of faces in view all the time: heads in rows, nearer ones lower."""

from __future__ import annotations

from typing import get_args

from hil.scenes.script import Portrait, Script, Visitor

COLUMNS = 4
_SPACING_M = 0.78
_SWAY_M = 0.06


def crowd(faces: int, seconds: float) -> Script:
    """A scene in which `faces` visitors (0 to 16) stand and sway before the camera.

    They stand in rows of four; each row is nearer to the camera and lower than the one behind, so
    that every head shows.
    """
    return Script(
        title=f"{faces} visitors stand in view",
        seconds=seconds,
        interactions=faces,
        visitor=tuple(_visitor(place, faces, seconds) for place in range(faces)),
    )


def _visitor(place: int, faces: int, seconds: float) -> Visitor:
    row, column = divmod(place, COLUMNS)
    in_row = min(COLUMNS, faces - row * COLUMNS)
    x = (column - (in_row - 1) / 2) * _SPACING_M
    z = 2.9 - 0.15 * row
    portraits = get_args(Portrait)
    return Visitor(
        portrait=portraits[(place + row) % len(portraits)],
        path=(
            (0.0, x - _SWAY_M, z),
            (seconds / 2, x + _SWAY_M, z),
            (seconds + 1.0, x - _SWAY_M, z),
        ),
        height_m=2.14 - 0.36 * row,
        mirror=row % 2 == 1,
    )
