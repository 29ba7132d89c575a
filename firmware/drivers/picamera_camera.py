"""Frames of a Raspberry Pi's camera by picamera2, out of the camera's own buffers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NoFrame

import numpy as np

os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:FATAL")  # it would write to standard error

from picamera2 import MappedArray, Picamera2

from firmware.errors import CameraError
from firmware.settings import Source
from firmware.vision.frames import Frame

_BUFFERS = 4
"""Frames that the camera system holds; as many reads and none of them is old."""
_TIMEOUT_S = 3.0
"""A camera that is silent for so long is lost."""


class PicameraCamera:
    """`picamera://0`: the camera with that number, in the mode that the settings ask for.

    A frame is copied once, from the mapped buffer that the camera filled into vision's own; the
    buffer is cleared before the camera gets it back.

    Args:
        asked: URI, size and rate of frames.
        open_camera: the vendor's class; a test gives one without hardware.

    Raises:
        CameraError: there is no such camera, it is busy, or it cannot give such frames.
    """

    live = True

    def __init__(self, asked: Source, open_camera: Callable[[int], Picamera2] = Picamera2) -> None:
        self._uri = asked.uri
        self.width_px, self.height_px = asked.width_px, asked.height_px
        self.frames_per_s = asked.frames_per_s
        self._read = 0
        number = asked.uri.removeprefix("picamera://").strip("/") or "0"
        if not number.isdigit():
            raise CameraError(
                f"{asked.uri} names no camera", remedy="write picamera:// and its number, from 0"
            )
        try:
            self._camera = open_camera(int(number))
        except (RuntimeError, IndexError, OSError) as error:
            raise CameraError(
                f"camera {asked.uri} cannot be opened",
                remedy="check its ribbon cable, that no other program uses it (rpicam-hello "
                "--list-cameras) and that this user is in group video",
            ) from error
        try:
            self._camera.configure(
                self._camera.create_video_configuration(
                    # libcamera's name for bytes in the order blue, green, red
                    {"format": "RGB888", "size": (asked.width_px, asked.height_px)},
                    buffer_count=_BUFFERS,
                    controls={"FrameRate": asked.frames_per_s},
                    queue=False,  # a frame that waits in a queue would be an old one
                )
            )
            size = self._camera.camera_configuration()["main"]["size"]
            self._camera.start()
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise self._wrong_mode("cannot give such frames") from error
        if size != (asked.width_px, asked.height_px):
            self.close()
            raise self._wrong_mode(f"gives {size[0]}x{size[1]} frames")

    def read(self, frame: Frame) -> bool:
        """Fill `frame` in place with the next picture; a camera never ends.

        Raises:
            CameraError: the camera is lost, or gave a frame of another size or format.
        """
        self._take(frame)
        frame.captured_at_ns = time.monotonic_ns()
        frame.index = self._read
        self._read += 1
        return True

    def release(self) -> None:
        """Take and clear every frame that the camera system holds; the next ones show what is in
        view now. A camera that is lost meanwhile says so at the next `read`."""
        try:
            for _ in range(_BUFFERS):
                self._take(None)
        except CameraError:
            return

    def close(self) -> None:
        self._camera.close()

    def _take(self, frame: Frame | None) -> None:
        try:
            request = self._camera.wait(self._camera.capture_request(wait=False), _TIMEOUT_S)
        except (NoFrame, RuntimeError, OSError) as error:
            raise CameraError(
                f"camera {self._uri} gives no more frames",
                remedy="check its ribbon cable; it is opened again when it is back",
            ) from error
        try:
            with MappedArray(request, "main") as mapped:
                fits = frame is None or mapped.array.shape == frame.pixels.shape
                if frame is not None and fits:
                    np.copyto(frame.pixels, mapped.array)
                mapped.array.fill(0)
        finally:
            request.release()
        if not fits:
            raise self._wrong_mode("gave a frame of another size or format")

    def _wrong_mode(self, what: str) -> CameraError:
        return CameraError(
            f"camera {self._uri} {what}, not {self.width_px}x{self.height_px}",
            remedy="set [source] to one of its modes (rpicam-hello --list-cameras)",
        )
