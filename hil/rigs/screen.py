"""A camera that is a file: `python -m hil.rigs.screen --channel FD` is vision in front of it.

The file stands where a device node would, below /dev, and is rewritten by the rig: it names the
clip that is shown, and since when. It is gone while the camera is unplugged. All of vision is real
but what OpenCV calls a capture.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.drivers.v4l2_camera import V4L2Camera
from firmware.settings import Settings
from firmware.vision import __main__ as entry
from firmware.vision.frames import FrameSource


def node(clip: Path | None, started_ns: int = 0) -> str:
    """What the camera's file says."""
    return json.dumps({"clip": str(clip or ""), "started_ns": started_ns})


class Screen:
    """What is on the screen now, behind the face of OpenCV's V4L2 capture.

    Args:
        path: the camera's file.
    """

    def __init__(self, path: str, backend: int = cv2.CAP_V4L2) -> None:
        del backend
        self._path = Path(path)
        self._modes: dict[int, float] = {}
        self._shown = ""
        self._clip: cv2.VideoCapture | None = None
        self._next = 0
        self._started_ns = self._due_ns = 0
        self._nobody: NDArray[np.uint8] | None = None

    def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
        return self._path.exists()

    def set(self, key: int, value: float) -> bool:
        self._modes[key] = value
        return True

    def get(self, key: int) -> float:
        return self._modes.get(key, 0.0)

    def grab(self) -> bool:
        """Wait for the next frame; False when the camera is gone."""
        rate = self._modes[cv2.CAP_PROP_FPS]
        now = time.monotonic_ns()
        self._due_ns = max(self._due_ns + round(1e9 / rate), now)
        time.sleep((self._due_ns - now) / 1e9)
        try:
            text = self._path.read_text("ascii")
        except OSError:
            return False
        if text != self._shown:
            self._turn_to(text)
        return True

    def retrieve(self, image: NDArray[np.uint8]) -> tuple[bool, NDArray[np.uint8]]:
        if self._nobody is None:
            self._nobody = np.full_like(image, 170)
        if self._clip is not None:
            due = int((time.monotonic_ns() - self._started_ns) / 1e9 * self._rate)
            while self._next <= due and self._clip.grab():
                self._next += 1
            if self._next > due:
                done, _ = self._clip.retrieve(image)
                return done, image
            self._clip.release()
            self._clip = None
        np.copyto(image, self._nobody)
        return True, image

    def release(self) -> None:
        if self._clip is not None:
            self._clip.release()
            self._clip = None
        self._shown = ""

    def _turn_to(self, text: str) -> None:
        self._shown = text
        said = json.loads(text)
        if self._clip is not None:
            self._clip.release()
            self._clip = None
        if said["clip"]:
            threads = [cv2.CAP_PROP_N_THREADS, 1]
            self._clip = cv2.VideoCapture(said["clip"], cv2.CAP_FFMPEG, threads)
            self._rate = self._clip.get(cv2.CAP_PROP_FPS)
            self._started_ns, self._next = said["started_ns"], 0


def _open(current: Settings) -> FrameSource:
    if not current.source.uri.startswith("/dev/"):
        return _open_source(current)
    screen: Any = Screen
    return V4L2Camera(current.source, screen)


if __name__ == "__main__":
    _open_source, entry.open_source = entry.open_source, _open
    sys.exit(entry.main())
