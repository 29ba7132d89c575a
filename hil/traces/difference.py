"""The byte difference: the same commands, other pixels, and every writable byte compared.

A search finds what somebody thought of. This finds what nobody did: two runs of vision that
differ in nothing but the visitor's pixels must leave the same memory behind after the wipe. Words
that differ between two runs on the very same clip (keys, times, process numbers) are noise; they
are told apart by repeating each run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware import launcher
from firmware.vision import native
from hil.traces import needles, rights
from hil.traces.subject import Subject

_NOTHING = np.zeros(0, np.uint64)

Snapshot = dict[int, tuple[str, NDArray[np.uint64]]]
"""Start of a mapping → its name and its 8-byte words."""


class Difference(NamedTuple):
    """Bytes that follow the pixels.

    Attributes:
        places: name, address and number of bytes of each stretch of mappings, largest first.
    """

    total: int
    places: tuple[tuple[str, int, int], ...]

    def within(self, name: str) -> int:
        """Bytes in mappings of that name."""
        return sum(count for mapping, _, count in self.places if mapping == name)


def snapshot(pid: int) -> Snapshot:
    """Every writable mapping of a process that is held, those that adjoin as one: the kernel joins
    and divides mappings as it likes."""
    found: Snapshot = {}
    end = -1
    for mapping in needles.mappings(pid):
        words = np.zeros((mapping.end - mapping.start) // 8, np.uint64)
        for address, stretch in needles.contents(pid, mapping):
            at = (address - mapping.start) // 8
            part = stretch[: stretch.size // 8 * 8].view(np.uint64)
            words[at : at + part.size] = part
        if mapping.start == end:
            start, (name, before) = found.popitem()
            found[start] = (name, np.concatenate([before, words]))
        else:
            found[mapping.start] = (mapping.name, words)
        end = mapping.end
    return found


def repeatable() -> dict[str, str]:
    """Vision's environment with the same time and random numbers in every run."""
    variables = launcher.environment("vision")
    same_world = native.compiled(Path(__file__).with_name("same_world.c"))
    preloaded = [variables.get("LD_PRELOAD", ""), str(same_world)]
    return variables | {
        "LD_PRELOAD": ":".join(filter(None, preloaded)),
        "OPENSSL_ia32cap": "~0x4000000000000010",  # neither RDTSC nor RDRAND
    }


def left_by(start: Callable[[], Subject], frames: int, *, rest: bool) -> Snapshot:
    """Memory of a fresh vision process after so many frames, at fixed addresses.

    Args:
        rest: it is then paused, and so wipes everything while somebody is in view.
    """
    rights.fix_addresses(True)
    try:
        with start() as subject:
            subject.run_to(frames)
            if rest:
                subject.rest()
            return snapshot(subject.pid)
    finally:
        rights.fix_addresses(False)


class Comparison:
    """What is the same in memory whenever the same clip is shown.

    Args:
        first, others: snapshots of runs on one clip; the more, the less noise is taken for a trace.
    """

    def __init__(self, first: Snapshot, *others: Snapshot) -> None:
        self._first = first
        self._noisy = {start: np.zeros(words.size, bool) for start, (_, words) in first.items()}
        for other in others:
            for start, (_, words) in first.items():
                self._noisy[start] |= words != _fitted(other, start, words.size)

    def difference(self, *others: Snapshot) -> Difference:
        """What has another value in all of `others`, and there the same, of the words that do not
        vary by themselves. Others should be runs on one clip, too: a word that only one of them
        changes does not follow the clip."""
        total = 0
        places: list[tuple[str, int, int]] = []
        for start in {start for each in (self._first, *others) for start in each}:
            one = others[0]
            name, words = self._first.get(start) or one.get(start) or ("", _NOTHING)
            before = words if start in self._first else np.zeros_like(words)
            differs = before ^ _fitted(one, start, words.size)
            if start in self._first:
                differs[self._noisy[start]] = 0
            for other in others[1:]:
                differs[_fitted(one, start, words.size) != _fitted(other, start, words.size)] = 0
            at = np.flatnonzero(differs)
            if at.size:
                count = int(np.count_nonzero(differs.view(np.uint8)))
                total += count
                places.append((name, start + 8 * int(at[0]), count))
        places.sort(key=lambda place: -place[2])
        return Difference(total, tuple(places))


def _fitted(snapshot: Snapshot, start: int, size: int) -> NDArray[np.uint64]:
    """The mapping that begins there, cut or filled with zeros to a size in words."""
    words = snapshot.get(start, ("", _NOTHING))[1][:size]
    return np.concatenate([words, np.zeros(size - words.size, np.uint64)])
