"""Small video files whose frames say which they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = (64, 48)
FRAMES_PER_S = 25.0


def picture(index: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A frame with a white bar that moves by two pixels from frame to frame."""
    pixels = np.full((size[1], size[0], 3), 16, np.uint8)
    pixels[:, 2 * index : 2 * index + 8] = 240
    return pixels


def shown(pixels: NDArray[np.uint8]) -> int:
    """Which frame this is, by where the bar is."""
    return round((int(np.argmax(pixels[:, :, 0].mean(axis=0) > 128))) / 2)


def write(path: Path, frames: int, size: tuple[int, int] = SIZE) -> Path:
    """A video file, Motion JPEG for .avi and MPEG-4 for .mp4."""
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, FRAMES_PER_S, size)
    for index in range(frames):
        writer.write(picture(index, size))
    writer.release()
    return path


def truncate(path: Path, part: float) -> Path:
    """Keep the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: round(part * len(content))])
    return path
