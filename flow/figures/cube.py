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
        row: (M,) line of each entry; entries: (M,) of ENTRY.
    """

    site: np.ndarray[Any, np.dtype[np.int64]]
    day: np.ndarray[Any, np.dtype[np.int64]]
    hour: np.ndarray[Any, np.dtype[np.int64]]
    row: np.ndarray[Any, np.dtype[np.int64]]
    entries: np.ndarray[Any, Any]

    def visitors(self) -> np.ndarray[Any, Any]:
        """(N,) f8: visitors of each line, whoever they were."""
        return np.bincount(self.row, self.entries["visitors"], len(self.site))

    def by_row(self, cells: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """(3, N) f8: visitors, seconds of dwell and of attention of each line.

        Args:
            cells: (CELLS,) which combinations count; None: all.
        """
        keep = None if cells is None else cells.take(self.entries["cell"]).nonzero()[0]
        return self._sums(self.row, keep, len(self.site))

    def by_cell(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(3, genders, ages, expressions) f8: sums over the lines where `rows` (N,) is true."""
        keep = None if rows.all() else rows.take(self.row).nonzero()[0]
        return self._sums(self.entries["cell"], keep, CELLS).reshape(3, *SHAPE)

    def _sums(
        self, at: np.ndarray[Any, Any], keep: np.ndarray[Any, Any] | None, many: int
    ) -> np.ndarray[Any, Any]:
        """(3, many) f8: sums by place `at` (M,) over the entries that `keep` numbers, or all."""

        def kept(column: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return column if keep is None else column.take(keep)

        names = ("visitors", "dwell_ds", "attention_ds")
        summed = [np.bincount(kept(at), kept(self.entries[name]), many) for name in names]
        return np.stack([summed[0], summed[1] / 10, summed[2] / 10])


Part = tuple[date, date, Grain]
"""First and last day, both included, and the grain in which to read them."""


def read(sites: Sequence[int], parts: Iterable[Part], *, hours: bool = True) -> Slice:
    """All rows of these sites in some stretches of time.

    Args:
        hours: keep the hours of a row apart where its grain has them.
    """
    found: list[tuple[Any, ...]] = []
    lines: list[int] = []
    for first, last, grain in parts if sites else ():
        found += rows.fetch(
            "SELECT site_id, day, cells FROM flow_cube WHERE grain = %s "  # noqa: S608
            f"AND day BETWEEN %s AND %s AND site_id IN ({','.join(['%s'] * len(sites))})",
            [int(grain), first, last, *sites],
        )
        lines += [24 if hours and grain.hourly else 1] * (len(found) - len(lines))
    return _opened(found, np.array(lines, np.int64))


def next_month(day: date) -> date:
    """The first day of the month after."""
    return (day.replace(day=1) + timedelta(32)).replace(day=1)


def write(sums: dict[Key, Hours]) -> None:
    """Insert or replace rows."""
    made = [(*key, encode(held)) for key, held in sums.items()]
    rows.upsert("flow_cube", KEYS, ("cells",), made)


def _opened(found: list[tuple[Any, ...]], lines: np.ndarray[Any, np.dtype[np.int64]]) -> Slice:
    """One line for each row, or 24 for one whose hours are kept apart; `lines` (rows,) says it."""
    entries = np.frombuffer(b"".join([row[2] for row in found]), ENTRY)
    lengths = [len(row[2]) // ENTRY.itemsize for row in found]
    ordinal = {day: rows.day(day).toordinal() for day in {row[1] for row in found}}
    starts = lines.cumsum() - lines
    hour = np.arange(lines.sum()) - np.repeat(starts, lines)
    hour[starts[lines == 1]] = WHOLE
    row = np.repeat(starts, lengths)
    if (lines > 1).any():
        row += np.where(np.repeat(lines > 1, lengths), entries["hour"], 0)
    return Slice(
        site=np.repeat(np.array([row[0] for row in found], np.int64), lines),
        day=np.repeat(np.array([ordinal[row[1]] for row in found], np.int64), lines),
        hour=hour,
        row=row,
        entries=entries,
    )
