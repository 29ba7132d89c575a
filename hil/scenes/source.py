"""A scene as a source of frames in the same process, and as a video file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from firmware.errors import ConfigError
from firmware.settings import Settings
from firmware.vision.frames import Frame
from hil.scenes.render import Scene
from hil.scenes.truth import Sample, stays

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}


class SceneSource:
    """A scene behind `firmware.vision.frames.FrameSource`, on the scene's own clock.

    Attributes:
        samples: the truth about every frame that was read, in order.
    """

    live = False

    def __init__(self, scene: Scene) -> None:
        self.width_px = scene.view.width_px
        self.height_px = scene.view.height_px
        self.frames_per_s = scene.script.camera.frames_per_s
        self.samples: list[Sample] = []
        self._scene = scene
        self._next = 0

    def read(self, frame: Frame) -> bool:
        if self._next >= self._scene.length:
            return False
        self.samples += self._scene.draw(self._next, frame.pixels)
        frame.index = self._next
        self._next += 1
        frame.captured_at_ns = round(self._next * 1e9 / self.frames_per_s)
        return True

    def release(self) -> None:
        """Nothing to free: the picture is drawn into the caller's buffer."""

    def close(self) -> None:
        """Nothing to free."""


def write_video(scene: Scene, path: Path, drawn: Callable[[int], None] | None = None) -> Path:
    """Render a scene to a video file, and the truth about it to a file beside it.

    Args:
        drawn: is told after each frame how many there are.

    Returns: the path of the truth, JSON.

    Raises:
        ConfigError: the name ends in neither .mp4 nor .avi, or the file cannot be written.
    """
    codec = _CODECS.get(path.suffix)
    if codec is None:
        raise ConfigError(
            f"video {path} is of no known kind", remedy="end its name in .mp4 or .avi"
        )
    camera = scene.script.camera
    size = (camera.width_px, camera.height_px)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), camera.frames_per_s, size)
    if not writer.isOpened():
        raise ConfigError(f"video {path} cannot be written", remedy="name a writable folder")
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    samples: list[Sample] = []
    for index in range(scene.length):
        samples += scene.draw(index, pixels)
        writer.write(pixels)
        if drawn:
            drawn(index + 1)
    writer.release()
    truth = path.with_suffix(".truth.json")
    truth.write_text(json.dumps(_as_json(scene, samples)) + "\n", encoding="utf-8")
    return truth


def _as_json(scene: Scene, samples: list[Sample]) -> dict[str, object]:
    """Who came when, and for each frame where each face is, how large and how much of it shows."""
    visits = stays(samples, scene.script, Settings())
    return {
        "title": scene.script.title,
        "frames": scene.length,
        "frames_per_s": scene.script.camera.frames_per_s,
        "interactions": [visit._asdict() for visit in visits],
        "samples": [
            {**sample._asdict(), "box": [round(edge, 1) for edge in sample.box]}
            for sample in samples
        ],
    }
