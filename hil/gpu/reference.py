"""What firmware/drivers/kernels.cu must compute, in numpy with double precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware.vision.frames import Layout

Picture = NDArray[np.uint8]
Values = NDArray[np.float64]


def colours(picture: Picture, layout: Layout) -> Values:
    """(H, W, 3) red, green and blue, 0 … 255.

    Args:
        picture: u8 (H, W, 3); for `nv12` (3H/2, W), the chroma plane below the luma plane. It is
            BT.601 with luma 16 … 235 (ITU-R BT.601-7, 2.5.3).
    """
    if layout != "nv12":
        return picture[:, :, :: -1 if layout == "bgr8" else 1].astype(float)
    height = picture.shape[0] * 2 // 3
    chroma = picture[height:].reshape(height // 2, -1, 2).repeat(2, axis=0).repeat(2, axis=1)
    luma = 1.164383 * (picture[:height].astype(float) - 16)
    u, v = chroma[:, :, 0] - 128.0, chroma[:, :, 1] - 128.0
    rgb = np.stack(
        [luma + 1.596027 * v, luma - 0.391762 * u - 0.812968 * v, luma + 2.017232 * u], axis=2
    )
    return rgb.clip(0, 255)


def halved(picture: Values, region: tuple[int, int, int, int, int]) -> Values:
    """(rows, columns, 3): means of blocks of 2^times pixels a side, from (left, top) on.

    Args:
        region: left, top, columns, rows, times.
    """
    left, top, columns, rows, times = region
    side = 1 << times
    part = picture[top : top + rows * side, left : left + columns * side]
    blocks: Values = part.reshape(rows, side, columns, side, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def sampled(picture: Values, affine: tuple[float, ...], columns: int, rows: int) -> Values:
    """(3, rows, columns): the picture under an affine map, between its pixels linearly.

    Args:
        affine: xx, xy, x0, yx, yy, y0: point (x, y) comes from (xx·x + xy·y + x0, yx·x + …). Beyond
            its edge the picture's edge goes on.
    """
    xx, xy, x0, yx, yy, y0 = affine
    y, x = np.indices((rows, columns))
    from_x, from_y = xx * x + xy * y + x0, yx * x + yy * y + y0
    left, top = np.floor(from_x).astype(int), np.floor(from_y).astype(int)
    part_x, part_y = (from_x - left)[:, :, None], (from_y - top)[:, :, None]

    def at(row: NDArray[np.intp], column: NDArray[np.intp]) -> Values:
        most_y, most_x = picture.shape[0] - 1, picture.shape[1] - 1
        return np.asarray(picture[row.clip(0, most_y), column.clip(0, most_x)])

    upper = at(top, left) * (1 - part_x) + at(top, left + 1) * part_x
    lower = at(top + 1, left) * (1 - part_x) + at(top + 1, left + 1) * part_x
    mixed: Values = upper * (1 - part_y) + lower * part_y
    return mixed.transpose(2, 0, 1)


def contrast(plane: NDArray[np.floating]) -> tuple[float, float]:
    """The deviations of a plane's Laplacian, its border mirrored, and of its values."""
    wide = np.pad(np.asarray(plane, float), 1, mode="reflect")
    middle = wide[1:-1, 1:-1]
    detail = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * middle
    return float(detail.std()), float(middle.std())
