"""A camera that is a file: `python -m hil.rigs.screen --channel FD` is vision in front of it.

The file stands where a device node would, below /dev, and is rewritten by the rig: it names the
clip that is shown, and since when. It is gone while the camera is unplugged. Beside it lies a file
in which the screen notes how much of the clip it has shown. All of vision is real but what OpenCV
calls a capture.

A sensor that is slow misses frames, as before any camera, but never more than `_STEP` - 1 in a row:
from there on the clip waits for it, and its frames bear the clip's time. So what the sensor sees
depends on how busy the machine is within limits that every scene's truth bears.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware import model_sets
from firmware.drivers.v4l2_camera import V4L2Camera
from firmware.settings import Settings, Source
from firmware.vision import __main__ as entry
from firmware.vision.frames import Frame, FrameSource
from hil.rigs import updater

_NOTE = struct.Struct("=q")
_STEP = 3
"""Frames of a clip from one that is taken to the next, at most: 4.2 a second of the clips of rigs.
"""


def node(clip: Path | None, started_ns: int = 0) -> str:
    """What the camera's file says."""
    return json.dumps({"clip": str(clip or ""), "started_ns": started_ns})


def notes(node: Path) -> Path:
    """Where the screen of a camera's file notes how much it has shown."""
    return node.with_suffix(".shown")


def position_s(node: Path) -> float:
    """Seconds of the clip that were shown; infinite when nobody is shown (any more)."""
    (shown_ns,) = _NOTE.unpack(notes(node).read_bytes())
    return shown_ns / 1e9 if shown_ns >= 0 else math.inf


def rewind(node: Path) -> None:
    """Before a clip is named: nothing of it was shown."""
    notes(node).write_bytes(_NOTE.pack(0))


class Screen:
    """What is on the screen now, behind the face of OpenCV's V4L2 capture.

    Args:
        path: the camera's file.

    Attributes:
        shown_at_ns: the time that the grabbed frame bears, on the monotonic clock.
    """

    def __init__(self, path: str, backend: int = cv2.CAP_V4L2) -> None:
        del backend
        self._path = Path(path)
        self._modes: dict[int, float] = {}
        self._shown = ""
        self._clip: cv2.VideoCapture | None = None
        self._next = self._taken = 0  # frames of the clip
        self._started_ns = self._waited_ns = 0  # of the clip, real time
        self._notes = os.open(notes(self._path), os.O_RDWR)  # as a device node
        self._due_ns = self.shown_at_ns = 0
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
        self.shown_at_ns = max(self._at_ns(time.monotonic_ns()), self.shown_at_ns + 1)
        return True

    def _at_ns(self, now_ns: int) -> int:
        """Take the clip's frame that is due; → its time, or now when nobody is shown."""
        if self._clip is None:
            return now_ns
        due = int((now_ns - self._started_ns - self._waited_ns) / self._period_ns)
        late = max(due - self._taken - _STEP, 0)
        self._waited_ns += round(late * self._period_ns)
        self._taken = due - late
        shown_ns = round(self._taken * self._period_ns)
        self._note(shown_ns)
        return self._started_ns + shown_ns

    def _note(self, shown_ns: int) -> None:
        os.pwrite(self._notes, _NOTE.pack(shown_ns), 0)

    def retrieve(self, image: NDArray[np.uint8]) -> tuple[bool, NDArray[np.uint8]]:
        if self._nobody is None:
            self._nobody = np.full_like(image, 170)
        if self._clip is not None:
            while self._next <= self._taken and self._clip.grab():
                self._next += 1
            if self._next > self._taken:
                done, _ = self._clip.retrieve(image)
                return done, image
            self._end()
            self._note(-1)
        np.copyto(image, self._nobody)
        return True, image

    def release(self) -> None:
        self._end()
        self._shown = ""
        os.close(self._notes)

    def _end(self) -> None:
        if self._clip is not None:
            self._clip.release()
            self._clip = None

    def _turn_to(self, text: str) -> None:
        joins = not self._shown  # a camera that is opened finds a clip where it is by now
        self._shown = text
        said = json.loads(text)
        self._end()
        if said["clip"]:
            threads = [cv2.CAP_PROP_N_THREADS, 1]
            self._clip = cv2.VideoCapture(said["clip"], cv2.CAP_FFMPEG, threads)
            self._period_ns = 1e9 / self._clip.get(cv2.CAP_PROP_FPS)
            self._started_ns, self._waited_ns = said["started_ns"], 0
            late_ns = time.monotonic_ns() - self._started_ns if joins else 0
            self._next, self._taken = 0, int(late_ns / self._period_ns)


class ScreenCamera(V4L2Camera):
    """The product's driver, with the time of the clip on each frame."""

    def __init__(self, asked: Source) -> None:
        screen: Any = Screen
        super().__init__(asked, screen)

    def read(self, frame: Frame) -> bool:
        done = super().read(frame)
        screen: Any = self._capture
        frame.captured_at_ns = screen.shown_at_ns
        return done


def _open(current: Settings) -> FrameSource:
    if not current.source.uri.startswith("/dev/"):
        return _open_source(current)
    return ScreenCamera(current.source)


if __name__ == "__main__":
    here = updater.places(Path(os.environ["FLOW_BOARD"]))
    model_sets.PLACE, model_sets.RELEASE = here.sets, here.release
    _open_source, entry.open_source = entry.open_source, _open
    sys.exit(entry.main())
