"""Frames of a video file, by OpenCV's FFmpeg."""

from __future__ import annotations

import os
import time
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg would write to standard error

import cv2
import cv2.utils.logging as cv2_log

from firmware.errors import CameraError
from firmware.vision.frames import Frame

cv2_log.setLogLevel(cv2_log.LOG_LEVEL_SILENT)

_COMPLETE = 0.98
"""A container's frame count is an estimate: less than this part of it is a truncated file."""


class VideoFile:
    """A clip, played at its own pace or as fast as it is read.

    Frame times are the clip's own, counted from the monotonic clock's reading at the first frame,
    so that a clip read in a hurry gives the same interactions as one that is watched.

    Args:
        path: a file that FFmpeg can read.
        realtime: wait until each frame is due, and skip frames that are overdue like a camera.

    Raises:
        CameraError: the file is missing, or is no video.
    """

    live = False

    def __init__(self, path: Path, *, realtime: bool) -> None:
        self._path = path
        self._realtime = realtime
        self._next = 0
        self._started_ns = 0
        self._capture: cv2.VideoCapture | None = self._open()
        self.width_px = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height_px = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.frames_per_s = self._capture.get(cv2.CAP_PROP_FPS)
        self._promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if not (self.width_px and self.height_px and self.frames_per_s > 0):
            raise self._no_video()

    def read(self, frame: Frame) -> bool:
        """Fill `frame` in place; False at the end.

        Raises:
            CameraError: the file ends early, or was exchanged for one of another frame size.
                (A size that changes within a file is brought to the first one by OpenCV.)
        """
        if self._capture is None:
            self._capture = self._open()
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, self._next)
        if not self._started_ns:
            self._started_ns = time.monotonic_ns()
        for _ in range(1 + self._overdue()):
            if not self._capture.grab():
                return self._ended()
            self._next += 1
        done, pixels = self._capture.retrieve(frame.pixels)
        if not done:
            return self._ended()
        if pixels is not frame.pixels:
            raise CameraError(
                f"clip {self._path} has another frame size than before",
                remedy="leave a clip as it is while it is played, and start the sensor again",
            )
        frame.index = self._next - 1
        frame.captured_at_ns = self._due_ns(frame.index)
        if self._realtime:
            time.sleep(max(0, frame.captured_at_ns - time.monotonic_ns()) / 1e9)
        return True

    def release(self) -> None:
        """Free the decoder and its frame pool; the next `read` goes on with the next frame."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    close = release

    def _open(self) -> cv2.VideoCapture:
        if not self._path.is_file():
            raise CameraError(
                f"clip {self._path} does not exist",
                remedy="name a video file in [source] uri or --source",
            )
        # One decoding thread: the stacks of a pool keep parts of pictures.
        return cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])

    def _due_ns(self, index: int) -> int:
        return self._started_ns + round(index * 1e9 / self.frames_per_s)

    def _overdue(self) -> int:
        """Frames to skip because the next one is due already."""
        if not self._realtime:
            return 0
        late_ns = time.monotonic_ns() - self._due_ns(self._next)
        return max(0, int(late_ns * self.frames_per_s / 1e9))

    def _ended(self) -> bool:
        if self._next < _COMPLETE * self._promised - 1:
            raise CameraError(
                f"clip {self._path} ends after {self._next} of {round(self._promised)} frames",
                remedy="copy it again: it is truncated or damaged; what was seen so far counts",
            )
        return False

    def _no_video(self) -> CameraError:
        return CameraError(
            f"{self._path} is not a video that can be read",
            remedy="name a video file such as an H.264 .mp4, or copy it again: it may be damaged",
        )
