"""Roll-ups: sums by site, time, gender, age and expression, packed for quick reading.

A row of the cube holds a day or a month of one site: only the combinations that occurred, as
entries of 14 bytes, with the hour of the day in the entry where hours are kept. Reading a year of
twenty sites is then a few hundred rows and one pass of numpy, whatever the number of interactions
was, and one code path serves SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum
from typing import Any

import numpy as np

from firmware.record import AgeCategory, Expression, Gender
from flow.ingest import rows

GENDERS = tuple(Gender)
AGES = tuple(AgeCategory)
EXPRESSIONS = tuple(Expression)
SHAPE = (len(GENDERS), len(AGES), len(EXPRESSIONS))
CELLS = len(GENDERS) * len(AGES) * len(EXPRESSIONS)

WHOLE = -1
"""In place of an hour: the sum of them all."""

ENTRY = np.dtype(
    [
        ("hour", "i1"),
        ("cell", "u1"),
        ("visitors", "<u4"),
        ("dwell_ds", "<u4"),
        ("attention_ds", "<u4"),
    ]
)
"""One combination: local hour or WHOLE, its number, visitors, dwell and attention in 0.1 s."""

MAX_STAY_DS = 36_000
"""A longer stay adds one hour to the sums: one forgotten mannequin must not make the mean."""

Sums = dict[int, list[int]]
"""Cell → [visitors, dwell, attention]."""
Hours = dict[tuple[int, int], list[int]]
"""The same by (hour, cell): what a row holds."""
Key = tuple[int, int, date]
"""(site, grain, first day): what a row is found by."""


KEYS = ("site_id", "grain", "day")


class Grain(IntEnum):
    """What a row covers: a day or a month; with the hours of the day apart or summed; with the
    combinations apart, or all visitors in cell 0 (which is what most pages need by the hour)."""

    DAY_BY_HOUR = 0
    DAY = 1
    MONTH_BY_HOUR = 2
    MONTH = 3
    DAY_HOURS_ONLY = 4
    MONTH_HOURS_ONLY = 5

    @property
    def hourly(self) -> bool:
        return self not in (Grain.DAY, Grain.MONTH)

    @property
    def monthly(self) -> bool:
        return self in (Grain.MONTH_BY_HOUR, Grain.MONTH, Grain.MONTH_HOURS_ONLY)

    @property
    def hours_only(self) -> bool:
        return self in (Grain.DAY_HOURS_ONLY, Grain.MONTH_HOURS_ONLY)


def cell_of(gender: Gender, age: AgeCategory, expression: Expression) -> int:
    """Number of a combination, 0 to CELLS − 1."""
    return (_GENDER[gender] * len(AGES) + _AGE[age]) * len(EXPRESSIONS) + _EXPRESSION[expression]


_GENDER = {value: at for at, value in enumerate(GENDERS)}
_AGE = {value: at for at, value in enumerate(AGES)}
_EXPRESSION = {value: at for at, value in enumerate(EXPRESSIONS)}


def encode(sums: Hours) -> bytes:
    return np.array([(*key, *sums[key]) for key in sorted(sums)], dtype=ENTRY).tobytes()


def decode(cells: bytes) -> Hours:
    return {(hour, cell): [v, d, a] for hour, cell, v, d, a in np.frombuffer(cells, ENTRY).tolist()}


def add(sums: Hours, more: Hours) -> None:
    """Add `more` to `sums` in place."""
    for key, (visitors, dwell, attention) in more.items():
        held = sums.setdefault(key, [0, 0, 0])
        held[0] += visitors
        held[1] += dwell
        held[2] += attention


def spread(into: dict[Key, Hours], site: int, day: date, hour: int, sums: Sums) -> None:
    """Add one hour of a site to each row that it belongs to."""
    everybody = [sum(values) for values in zip(*sums.values(), strict=True)]
    for grain in Grain:
        first = day.replace(day=1) if grain.monthly else day
        held = into.setdefault((site, int(grain), first), {})
        if grain.hours_only:
            add(held, {(hour, 0): everybody} if sums else {})
        else:
            at = hour if grain.hourly else WHOLE
            add(held, {(at, cell): values for cell, values in sums.items()})


@dataclass(frozen=True)
class Slice:
    """Rows of the cube, opened: one line for each site and day or month, or each hour of it.

    Attributes:
        site, day, hour: (N,) i8 for each line; days as proleptic ordinals, hour −1 for none.
        row: (M,) line of each entry; cell (M,); values: (M,) u4 of visitors, dwell and attention.
    """

    site: np.ndarray[Any, np.dtype[np.int64]]
    day: np.ndarray[Any, np.dtype[np.int64]]
    hour: np.ndarray[Any, np.dtype[np.int64]]
    row: np.ndarray[Any, np.dtype[np.int64]]
    cell: np.ndarray[Any, np.dtype[np.int64]]
    values: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]

    def by_row(self, cells: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """(3, N) f8: visitors, seconds of dwell and of attention of each line.

        Args:
            cells: (CELLS,) which combinations count; None: all.
        """
        many = len(self.site)
        if cells is None:
            return _seconds([np.bincount(self.row, value, many) for value in self.values])
        keep = cells[self.cell]
        row = self.row[keep]
        return _seconds([np.bincount(row, value[keep], many) for value in self.values])

    def by_cell(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(3, genders, ages, expressions) f8: sums over the lines where `rows` (N,) is true."""
        keep = slice(None) if rows.all() else rows[self.row]
        cell = self.cell[keep]
        summed = [np.bincount(cell, value[keep], CELLS) for value in self.values]
        return _seconds(summed).reshape(3, *SHAPE)


def read(sites: Sequence[int], first: date, last: date, grain: Grain) -> Slice:
    """All rows of these sites from `first` to `last`, both included."""
    if not sites:
        return _opened([], grain)
    found = rows.fetch(
        "SELECT site_id, day, cells FROM flow_cube WHERE grain = %s "  # noqa: S608
        f"AND day BETWEEN %s AND %s AND site_id IN ({','.join(['%s'] * len(sites))})",
        [int(grain), first, last, *sites],
    )
    return _opened(found, grain)


def next_month(day: date) -> date:
    """The first day of the month after."""
    return (day.replace(day=1) + timedelta(32)).replace(day=1)


def write(sums: dict[Key, Hours]) -> None:
    """Insert or replace rows."""
    made = [(*key, encode(held)) for key, held in sums.items()]
    rows.upsert("flow_cube", KEYS, ("cells",), made)


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


def _seconds(summed: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """(3, …) from sums of visitors, and of dwell and attention in 0.1 s."""
    return np.stack([summed[0], summed[1] / 10, summed[2] / 10])


def _opened(found: list[tuple[Any, ...]], grain: Grain) -> Slice:
    entries = np.frombuffer(b"".join([row[2] for row in found]), ENTRY)
    lengths = [len(row[2]) // ENTRY.itemsize for row in found]
    hours = 24 if grain.hourly else 1
    ordinal = {day: rows.day(day).toordinal() for day in {row[1] for row in found}}
    place = np.repeat(np.arange(len(found)) * hours, lengths)
    return Slice(
        site=np.repeat(np.array([row[0] for row in found], np.int64), hours),
        day=np.repeat(np.array([ordinal[row[1]] for row in found], np.int64), hours),
        hour=np.tile(np.arange(24), len(found)) if grain.hourly else np.full(len(found), WHOLE),
        row=place + entries["hour"] if grain.hourly else place,
        cell=entries["cell"].astype(np.int64),
        values=(entries["visitors"], entries["dwell_ds"], entries["attention_ds"]),
    )
