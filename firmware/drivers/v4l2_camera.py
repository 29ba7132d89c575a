"""Frames of a V4L2 camera (USB, or any `/dev/video*`), by OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")  # a silent camera is lost, seconds

import cv2
import cv2.utils.logging as cv2_log

from firmware.errors import CameraError
from firmware.settings import Source
from firmware.vision.frames import Frame

cv2_log.setLogLevel(cv2_log.LOG_LEVEL_SILENT)

_BUFFERS = 4
"""Frames that the kernel may hold; as many reads and none of them is old."""


class V4L2Camera:
    """A camera in the mode that the settings ask for, and no other.

    Args:
        asked: device, size and rate of frames.
        open_device: opens the vendor's capture; a test gives one without hardware.

    Raises:
        CameraError: there is no such camera, it is busy, or it cannot give such frames.
    """

    live = True

    def __init__(
        self, asked: Source, open_device: Callable[[str, int], cv2.VideoCapture] = cv2.VideoCapture
    ) -> None:
        self._device = asked.uri
        self.width_px, self.height_px = asked.width_px, asked.height_px
        self._read = 0
        self._capture = open_device(asked.uri, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(
                f"camera {asked.uri} cannot be opened",
                remedy="check that it is plugged in, that no other program uses it and that this "
                "user may read it (group video)",
            )
        # Motion JPEG: over USB 2 the uncompressed formats reach 720p only at ten frames a second.
        for key, value in (
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
            (cv2.CAP_PROP_FRAME_WIDTH, asked.width_px),
            (cv2.CAP_PROP_FRAME_HEIGHT, asked.height_px),
            (cv2.CAP_PROP_FPS, asked.frames_per_s),
            (cv2.CAP_PROP_BUFFERSIZE, _BUFFERS),
        ):
            self._capture.set(key, value)
        size = tuple(
            round(self._capture.get(key))
            for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.frames_per_s = self._capture.get(cv2.CAP_PROP_FPS) or asked.frames_per_s
        if size != (asked.width_px, asked.height_px):
            self.close()
            raise CameraError(
                f"camera {asked.uri} gives {size[0]}x{size[1]} frames, not "
                f"{asked.width_px}x{asked.height_px}",
                remedy="set [source] width_px and height_px to a size of the camera's "
                "(v4l2-ctl --list-formats-ext)",
            )

    def read(self, frame: Frame) -> bool:
        """Fill `frame` in place with the next picture; a camera never ends.

        Raises:
            CameraError: the camera is lost, or gave a frame of another size or format.
        """
        if not self._capture.grab():
            raise self._lost()
        frame.captured_at_ns = time.monotonic_ns()
        done, pixels = self._capture.retrieve(frame.pixels)
        if not done:
            raise self._lost()
        if pixels is not frame.pixels:
            raise CameraError(
                f"camera {self._device} gave a frame of another size or format",
                remedy="set [source] to one of its modes (v4l2-ctl --list-formats-ext)",
            )
        frame.index = self._read
        self._read += 1
        return True

    def release(self) -> None:
        """Overwrite what the kernel and the vendor's library hold with what is in view now.

        Closing the device instead would blind the sensor for most of a second whenever a scene
        becomes empty. A camera that is lost meanwhile says so at the next `read`.
        """
        for _ in range(_BUFFERS):
            if not self._capture.grab():
                return

    def close(self) -> None:
        self._capture.release()

    def _lost(self) -> CameraError:
        return CameraError(
            f"camera {self._device} gives no more frames",
            remedy="check its cable and its power; it is opened again when it is back",
        )
