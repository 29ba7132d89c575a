"""Vision itself, with a scene for its camera: `python -m hil.recycling.vision --channel FD`.

The scene goes on by the clock whether or not anybody looks, and one process at a time can have it,
like a camera. Every frame that was looked at is written down for the rig.
"""

from __future__ import annotations

import fcntl
import math
import os
import struct
import sys
import time

import cv2

from firmware.errors import CameraError
from firmware.settings import Settings
from firmware.vision import __main__ as vision
from firmware.vision.frames import Frame, FrameSource
from hil.recycling import hall
from hil.scenes import portraits
from hil.scenes.render import Scene

LOOKED = struct.Struct("=iq")
"""One frame: the process that looked at it, and its index."""


class Hall:
    """A camera in the hall.

    Raises:
        CameraError: another process has it.
    """

    live = True

    def __init__(self, scene: Scene, began_ns: int, looked_fd: int, camera_fd: int) -> None:
        self.width_px, self.height_px = scene.view.width_px, scene.view.height_px
        self.frames_per_s = scene.script.camera.frames_per_s
        self._scene, self._began_ns = scene, began_ns
        self._looked_fd, self._camera_fd = looked_fd, camera_fd
        self._next = 0
        try:
            fcntl.lockf(camera_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CameraError("the camera is busy", remedy="close it first") from error

    def read(self, frame: Frame) -> bool:
        period_ns = 1e9 / self.frames_per_s
        now = math.ceil((time.monotonic_ns() - self._began_ns) / period_ns)
        index = max(now, self._next)
        if index >= self._scene.length:
            return False
        self._next = index + 1
        frame.index, frame.captured_at_ns = index, self._began_ns + round(index * period_ns)
        time.sleep(max(0, frame.captured_at_ns - time.monotonic_ns()) / 1e9)
        self._scene.draw(index, frame.pixels)
        os.write(self._looked_fd, LOOKED.pack(os.getpid(), index))
        return True

    def release(self) -> None:
        """It is drawn into the caller's buffer."""

    def close(self) -> None:
        fcntl.lockf(self._camera_fd, fcntl.LOCK_UN)


def main() -> int:
    began_ns, looked_fd, camera_fd = (int(os.environ[name]) for name in hall.VARIABLES)
    cv2.setNumThreads(1)  # as vision will; the scene is drawn in the same process
    scene = Scene(hall.SCRIPT)
    for name in hall.PORTRAITS:
        portraits.head(name)  # read before vision confines itself

    def open_source(current: Settings) -> FrameSource:
        del current
        return Hall(scene, began_ns, looked_fd, camera_fd)

    vision.open_source = open_source
    return vision.main()


if __name__ == "__main__":
    sys.exit(main())
