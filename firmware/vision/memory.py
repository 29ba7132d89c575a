"""Every array that can hold something seen by the camera, by name, so that a wipe misses none.

Vision and its engine drivers take all their arrays from here, once, before the first frame. Each
buffer has pages of its own (anonymous, private): none shares a page with interpreter objects, and
the kernel takes the pages back on `release` instead of leaving them to the heap. What a driver must
allocate elsewhere, on a GPU, it has adopted here in the same breath.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)


class Elsewhere(Protocol):
    """Memory that is not ours to map, such as a GPU's."""

    def fill(self, value: int, /) -> None: ...


_buffers: dict[str, NDArray[Any]] = {}
_elsewhere: dict[str, Elsewhere] = {}
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
    _check_free(name)
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


def adopt(name: str, buffer: Elsewhere) -> None:
    """Register memory that a driver has allocated elsewhere: `fill(0)` wipes it.

    Raises:
        ValueError: the name is taken.
    """
    _check_free(name)
    _elsewhere[name] = buffer


def adopted(owner: str = "") -> Iterator[tuple[str, Any]]:
    """Name and buffer of all that was adopted, or of what one owner has."""
    return ((name, b) for name, b in _elsewhere.items() if owner in ("", _owner(name)))


def buffers(owner: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and array of every registered buffer, or of one owner's."""
    return ((name, b) for name, b in _buffers.items() if owner in ("", _owner(name)))


def wipe(owner: str = "") -> None:
    """Zero all buffers, or one owner's. They stay registered and usable.

    Raises:
        EngineError: a GPU failed; everything else is zero all the same.
    """
    for _, buffer in buffers(owner):
        buffer.fill(0)
    _wipe_elsewhere(owner)


def wipe_passing() -> None:
    """Zero all buffers but the lasting ones: what the last turn left, and nothing of tracks."""
    for name, buffer in buffers():
        if name not in _lasting:
            buffer.fill(0)
    _wipe_elsewhere()


def release(owner: str) -> None:
    """Zero and forget one owner's buffers; its names may be allocated again."""
    try:
        wipe(owner)
    finally:
        for name in [name for name, _ in buffers(owner)]:
            del _buffers[name]
            _lasting.discard(name)
        for name in [name for name, _ in adopted(owner)]:
            del _elsewhere[name]


def _wipe_elsewhere(owner: str = "") -> None:
    with ExitStack() as stack:  # which goes on after one that fails
        for _, buffer in adopted(owner):
            stack.callback(buffer.fill, 0)


def _check_free(name: str) -> None:
    if name in _buffers or name in _elsewhere:
        raise ValueError(f"buffer {name!r} is already allocated")


def _owner(name: str) -> str:
    return name.partition(".")[0]
