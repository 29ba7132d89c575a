"""Frames of a Jetson's cameras and decoders by jetson-utils, left where they are: on the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, get_args

import pycuda.driver as cuda
from jetson_utils import cudaImage, videoSource

from firmware.drivers.gpu import open_gpu, translated
from firmware.errors import CameraError
from firmware.settings import Source
from firmware.vision.frames import Frame, GpuImage, Layout

_BUFFERS = 4
"""Frames that jetson-utils holds; as many captures and none of them is old."""
_FIRST_MS, _NEXT_MS = 10_000, 3_000
"""A camera is lost when it gives no frame for so long; the first one waits for the sensor."""
_LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_QUIET = ["flow-sensor", "--log-level=silent"]  # it would write to standard output


class JetsonCamera:
    """A source that jetson-utils knows: `csi://0`, `v4l2:///dev/video0`, `rtsp://…`, `file://…`.

    A frame is read by the GPU where jetson-utils put it, and is cleared there before the next one
    is asked for. The image sensor's own format, NV12, is used as it is; everything else comes as
    RGB, which jetson-utils converts on the GPU into buffers that nothing else writes.

    Args:
        asked: URI, size and rate of frames.
        open_source: the vendor's class; a test gives one without hardware.

    Raises:
        CameraError: there is no such source, it is busy, or gives no frames of this size.
        EngineError: there is no GPU.
    """

    def __init__(
        self,
        asked: Source,
        open_source: Callable[..., videoSource] = videoSource,
    ) -> None:
        self._uri = asked.uri
        self.live = not asked.uri.startswith("file://")
        self.width_px, self.height_px = asked.width_px, asked.height_px
        self._format = "raw" if asked.uri.startswith("csi://") else "rgb8"
        self._image: cudaImage | None = None
        self._read = 0
        self._began_ns = 0
        open_gpu()  # its context is then the one that jetson-utils finds
        options: dict[str, Any] = {
            "width": asked.width_px,
            "height": asked.height_px,
            "framerate": asked.frames_per_s,
            "numBuffers": _BUFFERS,
            "zeroCopy": False,  # memory that the processor could read too is slower on the GPU
        }
        try:
            self._source = open_source(asked.uri, argv=_QUIET, options=options)
        except Exception as error:  # the vendor knows no other kind
            raise CameraError(
                f"camera {asked.uri} cannot be opened",
                remedy="check that it is plugged in, that nvargus-daemon runs (csi) and that no "
                "other program uses it",
            ) from error
        try:
            size = self._first_size()
        except CameraError:
            self.close()
            raise
        if not self.live:
            self.width_px, self.height_px = size  # a clip has the size that it has
        elif size != (asked.width_px, asked.height_px):
            self.close()
            raise CameraError(
                f"camera {asked.uri} gives {size[0]}x{size[1]} frames, not "
                f"{asked.width_px}x{asked.height_px}",
                remedy="set [source] width_px and height_px to a size of the camera's "
                "(v4l2-ctl --list-formats-ext)",
            )
        self.frames_per_s = float(self._source.GetFrameRate() or asked.frames_per_s)

    def read(self, frame: Frame) -> bool:
        """Let `frame.image` be the next picture; False at the end of a file.

        Raises:
            CameraError: the camera is lost, or gave a frame of another size or format.
            EngineError: the GPU failed.
        """
        frame.image = None
        if self._read:  # the first one was captured when it was opened
            self._clear()
            try:
                self._capture(_NEXT_MS)
            except CameraError:
                if self.live or self._source.IsStreaming():
                    raise
                return False
        image, now_ns = self._image, time.monotonic_ns()
        assert image
        layout = next((known for known in _LAYOUTS if known == image.format), None)
        if layout is None or (image.width, image.height) != (self.width_px, self.height_px):
            raise CameraError(
                f"camera {self._uri} gave a frame of another size or format",
                remedy="leave its mode as it is while the sensor runs",
            )
        frame.image = GpuImage(image.ptr, layout, image.width, image.height)
        if not self._read:
            self._began_ns = now_ns - image.timestamp
        # A clip's frames keep the clip's own times; a camera's clock may stand still or jump.
        frame.captured_at_ns = now_ns if self.live else self._began_ns + image.timestamp
        frame.index = self._read
        self._read += 1
        return True

    def release(self) -> None:
        """Clear the frame, and let the others that the vendor holds be overwritten by what is in
        view now. A camera that is lost meanwhile says so at the next `read`."""
        self._clear()
        if self.live:
            try:
                for _ in range(_BUFFERS):
                    self._capture(_NEXT_MS)
                    self._clear()
            except CameraError:
                return

    def close(self) -> None:
        self._clear()
        self._source.Close()

    def _first_size(self) -> tuple[int, int]:
        """Only the first frame tells of which size and format they are."""
        image = self._capture(_FIRST_MS)
        if image.format not in _LAYOUTS:
            self._format = "rgb8"
            self._clear()
            image = self._capture(_FIRST_MS)
        return image.width, image.height

    def _capture(self, timeout_ms: int) -> cudaImage:
        try:
            image = self._source.Capture(format=self._format, timeout=timeout_ms)
        except Exception as error:  # the vendor knows no other kind
            raise self._lost() from error
        if image is None:
            raise self._lost()
        self._image = image
        return image

    def _clear(self) -> None:
        image, self._image = self._image, None
        if image:
            with translated("clearing a frame"):
                cuda.memset_d8(image.ptr, 0, image.size)
                cuda.Context.synchronize()

    def _lost(self) -> CameraError:
        return CameraError(
            f"camera {self._uri} gives no more frames",
            remedy="check its cable and its power; it is opened again when it is back",
        )
