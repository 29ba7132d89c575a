"""Scenes as clips for a rig's camera, drawn once for each version of script and renderer."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from hil import report
from hil.scenes import script
from hil.scenes.render import Scene
from hil.scenes.source import write_video

FOLDER = report.ROOT / "build" / "hil" / "clips"
WIDTH_PX, HEIGHT_PX, FRAMES_PER_S = 640, 360, 12.5
"""Small and slow, so that a rig of processes and a rig in an emulator can follow."""


def clip(name: str) -> tuple[script.Script, Path]:
    """A scene of those near the camera, and its clip in the rigs' size."""
    path = script.NEAR / f"{name}.scene"
    scene = script.load(path)
    small = msgspec.structs.replace(
        scene.camera, width_px=WIDTH_PX, height_px=HEIGHT_PX, frames_per_s=FRAMES_PER_S
    )
    scene = msgspec.structs.replace(scene, camera=small)
    sources = [path, Path(__file__), *sorted(Path(script.__file__).parent.glob("*.py"))]
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:12]
    made = FOLDER / f"{name}-{digest}.mp4"
    if not made.exists():
        partial = FOLDER / f"partial-{os.getpid()}-{name}.mp4"
        truth = write_video(Scene(scene), partial)
        truth.replace(made.with_suffix(".truth.json"))
        partial.replace(made)
    return scene, made


def truth(clip: Path) -> dict[str, Any]:
    """What really happens in a clip; see `hil.scenes.source`."""
    known: dict[str, Any] = json.loads(clip.with_suffix(".truth.json").read_text("utf-8"))
    return known


def visible_s(clip: Path) -> tuple[float, float]:
    """From when to when the first visitor of a clip is in view."""
    stay = truth(clip)["interactions"][0]
    return stay["from_s"], stay["to_s"]
