"""Stands in for jetson-utils: a camera whose frames lie in the fake GPU's memory, in a ring."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetson_utils import cudaImage as _cudaImage
    from jetson_utils import videoSource as _videoSource
else:
    _cudaImage = _videoSource = object

_cuda = ctypes.CDLL("libcuda.so.1")


class cudaImage(_cudaImage):
    def __init__(self, size_px: tuple[int, int], layout: str) -> None:
        self._size_px, self._layout = size_px, layout
        self._size = size_px[0] * size_px[1] * (3 if layout != "nv12" else 1)
        self._size = self._size * 3 // 2 if layout == "nv12" else self._size
        self._ptr = ctypes.c_void_p()
        if _cuda.cuMemAlloc_v2(ctypes.byref(self._ptr), ctypes.c_size_t(self._size)):
            raise Exception("no memory")
        self.at_ns = 0

    @property
    def ptr(self) -> int:
        assert self._ptr.value
        return self._ptr.value

    @property
    def size(self) -> int:
        return self._size

    @property
    def width(self) -> int:
        return self._size_px[0]

    @property
    def height(self) -> int:
        return self._size_px[1]

    @property
    def format(self) -> str:
        return self._layout

    @property
    def timestamp(self) -> int:
        return self.at_ns

    def content(self) -> bytes:
        return ctypes.string_at(self.ptr, self._size)


class videoSource(_videoSource):
    """Gives frames whose every byte is their number, from 1 on.

    Attributes:
        present, size_px, raw_format, frames, frame_rate: what the next source that is opened is
            like; set on the class.
        silent: gives nothing for as long as one waits.
    """

    present = True
    size_px: tuple[int, int] | None = None
    raw_format = "nv12"
    frames = 1 << 30
    frame_rate = 0

    def __init__(
        self,
        uri: str = "",
        argv: list[str] | None = None,
        positionArg: int = -1,
        options: dict[str, Any] | None = None,
    ) -> None:
        if not self.present:
            raise Exception("failed to create videoSource device")
        options = options or {}
        self.uri, self.argv, self.options = uri, argv, options
        self.ring: list[cudaImage] = []
        self.captured = 0
        self.silent = self.closed = False

    def Capture(
        self, format: str = "rgb8", timeout: int = 1000, stream: int = 0
    ) -> cudaImage | None:
        assert timeout > 0
        if self.silent:
            return None
        if self.captured >= self.frames:
            self.closed = True
            raise Exception("videoSource failed to capture image")
        layout = self.raw_format if format == "raw" else format
        size_px = self.size_px or (self.options["width"], self.options["height"])
        if not self.ring or (self.ring[0].format, self.ring[0].width) != (layout, size_px[0]):
            self.ring = [cudaImage(size_px, layout) for _ in range(self.options["numBuffers"])]
        image = self.ring[self.captured % len(self.ring)]
        self.captured += 1
        ctypes.memset(image.ptr, self.captured % 256, image.size)
        image.at_ns = self.captured * 40_000_000
        return image

    def Close(self) -> None:
        self.closed = True

    def GetFrameRate(self) -> int:
        return self.frame_rate

    def IsStreaming(self) -> bool:
        return not self.closed
