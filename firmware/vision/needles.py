"""Many values of a picture, looked for at once in this process's own memory."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.vision import native

_LARGE = 4096
"""Bytes from which a buffer holds a picture, and not a few numbers."""
_MOST = 16_384
"""Windows of one picture at most."""
_SURE = 64
"""So many windows of a picture, of which one in eight begins where a word does, and are met."""
_TELLING = {1: 6, 2: 8, 3: 8}
"""Window length in 8-byte words → byte values that a window must have: fewer stand everywhere. Two
floats have them, one beside a zero has not: an engine's activations hold millions of those."""


class _Table(ctypes.Structure):
    _fields_ = (
        ("keys", ctypes.c_void_p),
        ("kinds", ctypes.c_void_p),
        ("slots", ctypes.c_uint64),
        ("starts", ctypes.c_void_p),
        ("bits", ctypes.c_uint64),
    )


class Needles:
    """Windows of buffers, by kind, held as hashes: what is searched does not hold its needles.

    The index is no buffer of a picture and so is not registered with `memory`: a wipe would empty
    it before the search that it is for.

    Args:
        slots: a power of two, at least a third more than all needles; 9.25 bytes each.
    """

    def __init__(self, slots: int = 1 << 19) -> None:
        library = native.library(native.SEARCH)
        assert library, "ask `available` first"
        self._native = ctypes.PyDLL(str(library))
        self._native.add_needles.restype = self._native.search_self.restype = ctypes.c_int64
        self._keys = np.zeros(slots, np.uint64)
        self._kinds = np.zeros(slots, np.uint8)
        self._starts = np.zeros(slots * 2 // 64, np.uint64)
        self._table = _Table(
            self._keys.ctypes.data,
            self._kinds.ctypes.data,
            slots,
            self._starts.ctypes.data,
            self._starts.size * 64,
        )
        self._kinds_known: list[str] = []
        self._held = 0

    @staticmethod
    def available() -> bool:
        """Whether the search library was built."""
        return native.library(native.SEARCH) is not None

    def add(self, kind: str, values: NDArray[Any]) -> bool:
        """Index windows of a C-contiguous array, evenly spread over it; read where it stands.

        Of a picture windows begin an odd number of elements apart, so that a copy is met at
        whatever place in an 8-byte word its elements come to stand.

        Returns: whether a search must now meet them; constant stretches tell nothing.
        """
        self._kinds_known.append(kind)
        if values.nbytes < _LARGE:
            in_place = self._add(values, 8, words=1)
            self._add(values, values.itemsize, words=1)
            return in_place > 0
        apart = (math.ceil(values.size / _MOST) | 1) * values.itemsize
        return self._add(values, apart, words=2 if values.itemsize == 1 else 3) >= _SURE

    def _add(self, values: NDArray[Any], apart: int, *, words: int) -> int:
        added: int = self._native.add_needles(
            ctypes.byref(self._table),
            ctypes.c_int64(self._held),
            ctypes.c_void_p(values.ctypes.data),
            ctypes.c_int64(values.nbytes),
            ctypes.c_int64(apart),
            words,
            _TELLING[words],
            len(self._kinds_known),
        )
        self._held += added
        return added

    def found(self) -> dict[str, int]:
        """Hits by kind in all private memory of this process that can be written; kinds without
        one are left out."""
        hits, first = np.zeros(256, np.uint64), np.zeros(256, np.int64)
        self._native.search_self(
            ctypes.byref(self._table),
            ctypes.c_void_p(hits.ctypes.data),
            ctypes.c_void_p(first.ctypes.data),
        )
        return {kind: int(hits[n]) for n, kind in enumerate(self._kinds_known, 1) if hits[n]}
