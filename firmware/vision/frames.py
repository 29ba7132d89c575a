"""Frames and where they come from."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from firmware.errors import CameraError
from firmware.settings import Source

Layout = Literal["bgr8", "rgb8", "nv12"]
"""How a picture lies in memory: three bytes a pixel, or a plane of luma and one of chroma pairs."""


class GpuImage(NamedTuple):
    """A picture on the GPU, in memory of the camera driver's that it clears after use.

    Attributes:
        address: of its first byte. Rows follow each other without a gap; the chroma plane of
            `nv12` follows the luma plane.
    """

    address: int
    layout: Layout
    width_px: int
    height_px: int


class Frame:
    """One picture, in a preallocated buffer for one turn of the loop.

    Attributes:
        pixels: u8 (H, W, 3), BGR, owned by vision's buffer registry.
        image: where the picture is when the camera left it on the GPU; `pixels` is then unused.
        captured_at_ns: monotonic clock, nanoseconds.
        index: counts frames since the source was opened.
    """

    __slots__ = ("captured_at_ns", "image", "index", "pixels")

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.image: GpuImage | None = None
        self.captured_at_ns = 0
        self.index = -1

    def __repr__(self) -> str:
        return f"Frame(shape={self.pixels.shape}, index={self.index})"

    def __reduce__(self) -> str:
        raise TypeError("a Frame never leaves its process")


class FrameSource(Protocol):
    """A camera, a clip or a rendered scene.

    Attributes:
        width_px, height_px: size of every frame it gives.
        frames_per_s: nominal rate.
        live: a camera, which is opened again when it is lost; a clip is not.
    """

    live: bool
    width_px: int
    height_px: int
    frames_per_s: float

    def read(self, frame: Frame) -> bool:
        """Fill `frame.pixels` in place, or set `frame.image`, and set its time and index.

        Returns: False when a clip has come to its end (a camera never ends).

        Raises:
            CameraError: the source is lost or gave a frame of another size or format; the
                worker closes it and opens it again with backoff.
        """

    def release(self) -> None:
        """Free the decoder and every buffer the vendor's library holds, and stay able to
        `read` on from the next frame. Part of a wipe."""

    def close(self) -> None:
        """Release for good. Idempotent."""


class Closed:
    """A camera that is not open yet; it will give frames of the size that is asked of it."""

    live = True

    def __init__(self, asked: Source) -> None:
        self.width_px, self.height_px = asked.width_px, asked.height_px
        self.frames_per_s = asked.frames_per_s

    def read(self, frame: Frame) -> bool:
        del frame
        raise CameraError(
            "the camera is closed", remedy="none: it is opened when the supervisor says resume"
        )

    def release(self) -> None:
        """It holds nothing."""

    close = release
