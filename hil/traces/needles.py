"""Many needles, looked for at once in the memory of a process."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware.errors import PrivacyError
from firmware.vision import native

MOST_KINDS = 255
_CHUNK, _OVERLAP = 4 << 20, 64
_TELLING = {1: 5, 2: 10, 3: 8}
"""Window length in words → byte values that a window must have: fewer stand everywhere."""


class _Table(ctypes.Structure):
    _fields_ = (
        ("keys", ctypes.c_void_p),
        ("kinds", ctypes.c_void_p),
        ("slots", ctypes.c_uint64),
        ("starts", ctypes.c_void_p),
        ("bits", ctypes.c_uint64),
    )


class Hit(NamedTuple):
    """Needles of one kind met in one mapping.

    Attributes:
        mapping: as /proc/PID/maps names it.
        first: address of the first.
    """

    kind: str
    hits: int
    mapping: str
    first: int


class Index:
    """An index of needles by kind. Holds hashes only; see firmware/vision/native/search.c.

    Args:
        slots: a power of two, at least a third more than the needles.

    Raises:
        PrivacyError: the search library was not built.
    """

    def __init__(self, slots: int = 1 << 24) -> None:
        library = native.library(native.SEARCH)
        if library is None:
            raise PrivacyError(
                "the search library is not built",
                remedy="install a C compiler and run `make native`",
            )
        self._native = ctypes.CDLL(str(library))
        for function in (
            self._native.add_needles,
            self._native.recast_needles,
            self._native.search,
        ):
            function.restype = ctypes.c_int64
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
        self._chunk = np.zeros(_CHUNK + _OVERLAP, np.uint8)
        self.counts: dict[str, int] = {}
        self._base: tuple[NDArray[Any], ...] | None = None
        self._base_counts: dict[str, int] = {}

    def keep(self) -> None:
        """What is indexed now stays when the rest is cleared."""
        self._base = (self._keys.copy(), self._kinds.copy(), self._starts.copy())
        self._base_counts = dict(self.counts)

    def clear(self) -> None:
        arrays: tuple[NDArray[Any], ...] = (self._keys, self._kinds, self._starts)
        for place, array in enumerate(arrays):
            array[:] = self._base[place] if self._base else 0
        self.counts = dict(self._base_counts)

    def add(
        self, kind: str, values: NDArray[Any], *, words: int, step: int, least: int = 0
    ) -> None:
        """Index the windows of `values` that begin every `step` bytes and are `words` words long.

        A window tells something when it has enough different bytes, `least` of them; the others
        are left out. One that is indexed under another kind already stays under that.
        """
        if kind not in self.counts:
            assert len(self.counts) < MOST_KINDS
            self.counts[kind] = 0
        array = np.ascontiguousarray(values)
        self.counts[kind] += self._native.add_needles(
            ctypes.byref(self._table),
            ctypes.c_int64(sum(self.counts.values())),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_int64(array.nbytes),
            ctypes.c_int64(step),
            words,
            least or _TELLING[words],
            list(self.counts).index(kind) + 1,
        )

    def recast(self, kind: str, values: NDArray[Any], *, words: int, step: int) -> int:
        """Needles among the windows of `values` are of that kind from now on.

        Args:
            kind: one that was added to before.

        Returns:
            How many were of another.
        """
        array = np.ascontiguousarray(values)
        recast: int = self._native.recast_needles(
            ctypes.byref(self._table),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_int64(array.nbytes),
            ctypes.c_int64(step),
            words,
            list(self.counts).index(kind) + 1,
        )
        return recast

    def search(self, pid: int) -> list[Hit]:
        """Look through all memory of a process that can be written; it must be stopped.

        Raises:
            PermissionError: this process may not read that one.
        """
        found: list[Hit] = []
        for mapping in mappings(pid):
            hits, first = np.zeros(256, np.uint64), np.zeros(256, np.int64)
            for address, stretch in contents(pid, mapping, self._chunk):
                self._search(stretch, address, hits, first)
            found += [
                Hit(kind, int(hits[number]), mapping.name, int(first[number]))
                for number, kind in enumerate(self.counts, 1)
                if hits[number]
            ]
        return found

    def search_bytes(self, content: bytes) -> dict[str, int]:
        """Hits by kind in a file, a message or a log, at whatever offset they stand."""
        hits, first = np.zeros(256, np.uint64), np.zeros(256, np.int64)
        for shift in range(8):
            self._search(np.frombuffer(content[shift:], np.uint8), shift, hits, first)
        return {kind: int(hits[n]) for n, kind in enumerate(self.counts, 1) if hits[n]}

    def _search(
        self,
        stretch: NDArray[np.uint8],
        address: int,
        hits: NDArray[np.uint64],
        first: NDArray[np.int64],
    ) -> None:
        self._native.search(
            ctypes.byref(self._table),
            ctypes.c_void_p(stretch.ctypes.data),
            ctypes.c_int64(stretch.size),
            ctypes.c_int64(address),
            ctypes.c_void_p(hits.ctypes.data),
            ctypes.c_void_p(first.ctypes.data),
        )


class Mapping(NamedTuple):
    start: int
    end: int
    name: str


def mappings(pid: int) -> Iterator[Mapping]:
    """The mappings of a process that can hold anything but the bytes of a file: those that are
    or were writable. What the kernel shows there of its own (vvar, vsyscall) is left out."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        found = re.match(r"(\w+)-(\w+) r(.)\S+ \S+ \S+ (\d+)\s*(.*)", line)
        if found and (found[3] == "w" or found[4] == "0") and not found[5].startswith("[v"):
            yield Mapping(int(found[1], 16), int(found[2], 16), found[5] or "anonymous")


def contents(
    pid: int, mapping: Mapping, into: NDArray[np.uint8] | None = None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Stretches of one mapping with their addresses, each overlapping the one before it.

    A page that cannot be read ends its stretch and is passed over: a file that is shorter than its
    mapping has such pages.
    """
    chunk = np.zeros(_CHUNK + _OVERLAP, np.uint8) if into is None else into
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        address = mapping.start
        while address < mapping.end:
            wanted = min(chunk.size, mapping.end - address)
            try:
                got = os.preadv(memory, [chunk[:wanted].data], address)
            except OSError:
                got = 0
            if got:
                yield address, chunk[:got]
            address += min(got, _CHUNK) if got else os.sysconf("SC_PAGESIZE")
    finally:
        os.close(memory)
