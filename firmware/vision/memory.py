"""Every array that can hold something seen by the camera, by name, so that a wipe misses none.

Vision and its engine drivers take all their arrays from here, once, before the first frame. Each
buffer has pages of its own (anonymous, private): none shares a page with interpreter objects, and
the kernel takes the pages back on `release` instead of leaving them to the heap.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)

_buffers: dict[str, NDArray[Any]] = {}
_lasting: set[str] = set()


def allocate(
    name: str, shape: tuple[int, ...], dtype: type[_Scalar], *, lasting: bool = False
) -> NDArray[_Scalar]:
    """A zeroed, page-aligned, C-contiguous array that stays registered until `release`.

    Args:
        name: `owner.purpose`, such as `detector.input`; the part before the first dot is the
            owner that `release` names.
        lasting: it has a row for each track, which the owner zeroes when that track ends. Any
            other buffer is written anew in every turn, so a wipe may zero it at any time.

    Raises:
        ValueError: the name is taken: two owners of one name would be a programming error.
    """
    if name in _buffers:
        raise ValueError(f"buffer {name!r} is already allocated")
    count = math.prod(shape)
    pages = mmap.mmap(
        -1,
        max(1, count * np.dtype(dtype).itemsize),
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
    )
    buffer = np.frombuffer(pages, dtype, count).reshape(shape)
    _buffers[name] = buffer
    if lasting:
        _lasting.add(name)
    return buffer


def buffers(owner: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and array of every registered buffer, or of one owner's."""
    return ((name, b) for name, b in _buffers.items() if owner in ("", name.partition(".")[0]))


def wipe(owner: str = "") -> None:
    """Zero all buffers, or one owner's. They stay registered and usable."""
    for _, buffer in buffers(owner):
        buffer.fill(0)


def wipe_passing() -> None:
    """Zero all buffers but the lasting ones: what the last turn left, and nothing of tracks."""
    for name, buffer in buffers():
        if name not in _lasting:
            buffer.fill(0)


def release(owner: str) -> None:
    """Zero and forget one owner's buffers; its names may be allocated again."""
    wipe(owner)
    for name in [name for name, _ in buffers(owner)]:
        del _buffers[name]
        _lasting.discard(name)
