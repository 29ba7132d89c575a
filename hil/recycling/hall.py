"""The scene: visitors one after the other, with hardly more than a second of nobody in between."""

from __future__ import annotations

import typing

from hil.scenes.script import Camera, Portrait, Script, Visitor

VISITORS = 20
FIRST_S, EVERY_S, STAY_S = 8.0, 5.0, 2.4
VARIABLES = ("FLOW_RIG_BEGAN_NS", "FLOW_RIG_LOOKED_FD", "FLOW_RIG_CAMERA_FD")
"""What the rig tells each vision process: when the scene began, and two open files."""
PORTRAITS: tuple[Portrait, ...] = typing.get_args(Portrait)


def _visitor(number: int) -> Visitor:
    came_s = FIRST_S + number * EVERY_S
    side = 0.45 if number % 2 else -0.45
    return Visitor(
        portrait=PORTRAITS[number % len(PORTRAITS)],
        path=((came_s, side, 1.7), (came_s + STAY_S, -side, 1.3)),
    )


SCRIPT = Script(
    title="One visitor after the other",
    seconds=FIRST_S + VISITORS * EVERY_S,
    interactions=VISITORS,
    camera=Camera(width_px=640, height_px=360),
    visitor=tuple(map(_visitor, range(VISITORS))),
)
