"""Roll-ups: sums by site, time, gender, age and expression, packed for quick reading.

A row of the cube holds only the combinations that occurred, as entries of 14 bytes. Reading a
year of twenty sites is then a few megabytes and one pass of numpy, whatever the number of
interactions was, and one code path serves SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Any

import numpy as np
from django.db import connection

from firmware.record import AgeCategory, Expression, Gender

GENDERS = tuple(Gender)
AGES = tuple(AgeCategory)
EXPRESSIONS = tuple(Expression)
SHAPE = (len(GENDERS), len(AGES), len(EXPRESSIONS))
CELLS = len(GENDERS) * len(AGES) * len(EXPRESSIONS)

ENTRY = np.dtype(
    [("cell", "<u2"), ("visitors", "<u4"), ("dwell_ds", "<u4"), ("attention_ds", "<u4")]
)
"""One combination: its number, visitors, and sums of dwell and attention in 0.1 s."""

MAX_STAY_DS = 36_000
"""A longer stay adds one hour to the sums: one forgotten mannequin must not make the mean."""

Sums = dict[int, list[int]]
"""Cell → [visitors, dwell, attention]."""


class Grain(IntEnum):
    """How long a stretch a row covers."""

    HOUR = 0
    DAY = 1
    MONTH_HOUR = 2
    """One hour of the day, summed over a calendar month."""


def cell_of(gender: Gender, age: AgeCategory, expression: Expression) -> int:
    """Number of a combination, 0 to CELLS − 1."""
    return (_GENDER[gender] * len(AGES) + _AGE[age]) * len(EXPRESSIONS) + _EXPRESSION[expression]


_GENDER = {value: at for at, value in enumerate(GENDERS)}
_AGE = {value: at for at, value in enumerate(AGES)}
_EXPRESSION = {value: at for at, value in enumerate(EXPRESSIONS)}


def encode(sums: Sums) -> bytes:
    return np.array([(cell, *sums[cell]) for cell in sorted(sums)], dtype=ENTRY).tobytes()


def decode(cells: bytes) -> Sums:
    return {cell: [v, d, a] for cell, v, d, a in np.frombuffer(cells, ENTRY).tolist()}


def add(sums: Sums, more: Sums) -> None:
    """Add `more` to `sums` in place."""
    for cell, values in more.items():
        held = sums.setdefault(cell, [0, 0, 0])
        for at, value in enumerate(values):
            held[at] += value


@dataclass(frozen=True)
class Slice:
    """Rows of the cube, opened.

    Attributes:
        site, day, hour: (N,) i8 for each row; days as proleptic ordinals, hour −1 for none.
        row: (M,) row of each entry; cell (M,); visitors, dwell_s, attention_s (M,) f8.
    """

    site: np.ndarray[Any, np.dtype[np.int64]]
    day: np.ndarray[Any, np.dtype[np.int64]]
    hour: np.ndarray[Any, np.dtype[np.int64]]
    row: np.ndarray[Any, np.dtype[np.int64]]
    cell: np.ndarray[Any, np.dtype[np.int64]]
    values: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]

    def by_row(self, cells: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """(3, N) f8: visitors, dwell and attention of each row.

        Args:
            cells: (CELLS,) which combinations count; None: all.
        """
        many = len(self.site)
        if cells is None:
            return np.stack([np.bincount(self.row, value, many) for value in self.values])
        keep = cells[self.cell]
        row = self.row[keep]
        return np.stack([np.bincount(row, value[keep], many) for value in self.values])

    def by_cell(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(3, genders, ages, expressions) f8: sums over the rows where `rows` (N,) is true."""
        keep = slice(None) if rows.all() else rows[self.row]
        cell = self.cell[keep]
        summed = [np.bincount(cell, value[keep], CELLS) for value in self.values]
        return np.stack(summed).reshape(3, *SHAPE)


def read(sites: Sequence[int], first: date, last: date, grain: Grain) -> Slice:
    """All rows of these sites from `first` to `last`, both included."""
    if not sites:
        return _opened([])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT site_id, day, hour, cells FROM flow_cube WHERE grain = %s "  # noqa: S608
            f"AND day BETWEEN %s AND %s AND site_id IN ({','.join(['%s'] * len(sites))})",
            [int(grain), first, last, *sites],
        )
        return _opened(cursor.fetchall())


def join(slices: Iterable[Slice]) -> Slice:
    """Several slices as one."""
    parts = list(slices)
    offsets = np.cumsum([0, *(len(part.site) for part in parts)])
    return Slice(
        site=np.concatenate([part.site for part in parts]),
        day=np.concatenate([part.day for part in parts]),
        hour=np.concatenate([part.hour for part in parts]),
        row=np.concatenate([part.row + at for part, at in zip(parts, offsets, strict=False)]),
        cell=np.concatenate([part.cell for part in parts]),
        values=(
            np.concatenate([part.values[0] for part in parts]),
            np.concatenate([part.values[1] for part in parts]),
            np.concatenate([part.values[2] for part in parts]),
        ),
    )


def _opened(rows: list[tuple[Any, ...]]) -> Slice:
    cells = [row[3] for row in rows]
    entries = np.frombuffer(b"".join(cells), ENTRY)
    lengths = [len(cell) // ENTRY.itemsize for cell in cells]
    days = {row[1] for row in rows}
    ordinal = {day: _ordinal(day) for day in days}
    return Slice(
        site=np.array([row[0] for row in rows], np.int64),
        day=np.array([ordinal[row[1]] for row in rows], np.int64),
        hour=np.array([row[2] for row in rows], np.int64),
        row=np.repeat(np.arange(len(rows)), lengths),
        cell=entries["cell"].astype(np.int64),
        values=(
            entries["visitors"].astype(np.float64),
            entries["dwell_ds"] / 10.0,
            entries["attention_ds"] / 10.0,
        ),
    )


def _ordinal(day: date | str) -> int:
    """SQLite hands out dates of plain cursors as text."""
    return (date.fromisoformat(day) if isinstance(day, str) else day).toordinal()
