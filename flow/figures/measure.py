"""From the cube to protected sums: the one place where a question meets the roll-ups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from flow.figures import cube, protection
from flow.figures.cube import Grain, Slice
from flow.figures.periods import Period
from flow.figures.question import ATTRIBUTES, VALUES, Question

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Cells:
    """Figures for some groups of visitors, ready to be shown.

    Attributes:
        visitors: (N,) i8; `protection.WITHHELD` where it may not be shown.
        dwell_s, attention_s: (N,) mean seconds; NaN where visitors are withheld or none.
    """

    visitors: Array
    dwell_s: Array
    attention_s: Array


class Rows:
    """The rows that answer a question about a period.

    Attributes:
        site, day, hour: (N,) as in the cube; hour −1 where it is not known.
        passing: (N,) bool, which rows pass the filters on time.
    """

    def __init__(
        self,
        question: Question,
        period: Period,
        *,
        hours: bool = False,
        days: bool | None = None,
        hours_of: date | None = None,
        cells: bool = True,
    ) -> None:
        """Read them in the coarsest grain that answers.

        Args:
            hours: the hour of each row matters.
            days: the day of each row matters; None: where the period's chart shows days or weeks.
            hours_of: the one day whose hours matter.
            cells: who the visitors were matters (`by_cell`), beyond the question's filters.
        """
        who = cells or question.by_attribute
        days = period.step in ("day", "week") if days is None else days
        if hours_of and not hours:
            self._slice = _around(question, period, hours_of, cells=who)
        else:
            self._slice = _read(question, period, hours=hours, days=days, cells=who)
        self.site, self.day, self.hour = self._slice.site, self._slice.day, self._slice.hour
        if question.by_attribute:
            chosen = [question.chosen(name) for name in ATTRIBUTES]
            counted = np.einsum("g,a,e->gae", *(c.astype(int) for c in chosen)).ravel() > 0
            self._group = self._slice.by_row(counted)
            self._everybody = self._slice.visitors()
        else:
            self._group = self._slice.by_row()
            self._everybody = self._group[0]
        self.passing = np.ones(len(self.site), bool)
        if "hour" in question.filters:
            self.passing &= question.chosen("hour")[np.maximum(self.hour, 0)]
        if "weekday" in question.filters:
            self.passing &= question.chosen("weekday")[(self.day - 1) % 7]

    @property
    def hourly(self) -> bool:
        return bool((self.hour >= 0).all())

    def before(self, day: date, hour: int) -> Array:
        """(N,) bool: passing, and before a local hour (or up to a day, where hours are unknown)."""
        last = day.toordinal()
        passing: Array = self.passing & (
            (self.day < last) | ((self.day == last) & (self.hour < hour))
        )
        return passing

    def sums(
        self, bucket: Array, buckets: int, passing: Array | None = None
    ) -> tuple[Array, Array]:
        """Sums by bucket: (3, B) of those who pass the filters, (B,) visitors in all.

        Args:
            bucket: (N,) bucket of each row.
        """
        passing = self.passing if passing is None else passing
        at = bucket[passing]
        values = [np.bincount(at, value[passing], buckets) for value in self._group]
        return np.stack(values), np.bincount(at, self._everybody[passing], buckets)

    def whole(self, passing: Array | None = None) -> tuple[Array, Array]:
        """`sums` with one bucket for all."""
        return self.sums(np.zeros(len(self.site), np.int64), 1, passing)

    def by_cell(self) -> Array:
        """(3, genders, ages, expressions) of all that pass the filters on time."""
        return self._slice.by_cell(self.passing)


def _read(question: Question, period: Period, *, hours: bool, days: bool, cells: bool) -> Slice:
    hourly = hours or "hour" in question.filters or period.days <= 1
    by_day, by_month = Grain.DAY_HOURS_ONLY, Grain.MONTH_HOURS_ONLY  # much the smallest rows
    if cells and hourly:
        by_day, by_month = Grain.DAY_BY_HOUR, Grain.MONTH_BY_HOUR
    elif cells:
        by_day, by_month = Grain.DAY, Grain.MONTH
    parts = [(period.first, period.last, by_day)]
    if not days and "weekday" not in question.filters:
        parts = _months(question, period, by_day, by_month)
    return cube.read(question.site_ids, parts, hours=hourly)


def _around(question: Question, period: Period, day: date, *, cells: bool) -> Slice:
    """Whole days, and the hours of one of them."""
    if "hour" in question.filters or period.days <= 1 or not period.first <= day <= period.last:
        return _read(question, period, hours=False, days=True, cells=cells)
    if not cells:
        return _read(question, period, hours=True, days=True, cells=False)
    one = timedelta(1)
    parts = [(day, day, Grain.DAY_BY_HOUR)]
    if period.first < day:
        parts.append((period.first, day - one, Grain.DAY))
    if day < period.last:
        parts.append((day + one, period.last, Grain.DAY))
    return cube.read(question.site_ids, parts)


def _months(question: Question, period: Period, by_day: Grain, by_month: Grain) -> list[cube.Part]:
    """Whole months from the monthly rows, the ends from the daily ones."""
    one = timedelta(1)
    first = period.first
    if first.day > 1:
        first = cube.next_month(first)
    after = period.last + one
    end = after.replace(day=1)  # the first month that is not whole
    if all(question.now.astimezone(site.zone).date() <= period.last for site in question.sites):
        end = cube.next_month(period.last)  # the rest of it is to come
    if first >= end:
        return [(period.first, period.last, by_day)]
    parts = [(first, end - one, by_month)]
    if period.first < first:
        parts.append((period.first, first - one, by_day))
    if after > end:
        parts.append((end, period.last, by_day))
    return parts


def groups(question: Question, sums: tuple[Array, Array], times: Sequence[Any]) -> Cells:
    """One figure for each bucket: the visitors that pass the filters on attributes.

    Args:
        sums: from `Rows.sums`.
        times: (B,) normal form of each bucket's stretch of time and sites.
    """
    values, totals = sums
    if not question.by_attribute:
        return _cells(values[0].round().astype(np.int64), values)
    chosen = [tuple(question.chosen(name).nonzero()[0].tolist()) for name in ATTRIBUTES]
    asked = [(time, *chosen) for time in times]
    return _cells(protection.published_array(values[0], totals, asked), values, asked)


def split(question: Question, sums: Array, name: str, time: Any) -> Cells:
    """Figures for each value of an attribute over one bucket.

    The filter on the attribute itself does not count: its other values stay in sight.

    Args:
        sums: (3, genders, ages, expressions).
    """
    selected = {other: question.chosen(other) for other in ATTRIBUTES}
    selected[name] = np.ones(len(VALUES[name]), bool)
    weights = (selected[other].astype(float) for other in ATTRIBUTES)
    values = np.einsum("vgae,g,a,e->vgae", sums, *weights)
    axes = tuple(1 + at for at, other in enumerate(ATTRIBUTES) if other != name)
    values = values.sum(axis=axes)
    asked = []
    for at in range(len(VALUES[name])):
        form = {other: tuple(chosen.nonzero()[0].tolist()) for other, chosen in selected.items()}
        form[name] = (at,)
        asked.append((time, *form.values()))
    total = np.full(len(asked), sums[0].sum())
    return _cells(protection.published_array(values[0], total, asked), values, asked)


def time_form(
    question: Question,
    period: Period,
    *,
    sites: Sequence[int] | None = None,
    hour: int = -1,
    weekday: int = -1,
    hours_before: int = 24,
) -> tuple[Any, ...]:
    """The normal form of a stretch of time: two ways to ask for the same days are one."""
    hours = question.chosen("hour") if hour < 0 else np.arange(24) == hour
    hours = hours & (np.arange(24) < hours_before)
    weekdays = question.chosen("weekday") if weekday < 0 else np.arange(7) == weekday
    present = {(period.first + timedelta(at)).weekday() for at in range(min(period.days, 7))}
    return (
        tuple(sorted(question.site_ids if sites is None else sites)),
        period.first.toordinal(),
        period.last.toordinal(),
        tuple(hours.nonzero()[0].tolist()),
        tuple(at for at in weekdays.nonzero()[0].tolist() if at in present),
    )


def _cells(visitors: Array, values: Array, asked: Sequence[Any] = ()) -> Cells:
    """Cells with means; those of groups (`asked` says which) are protected."""
    shown = visitors > 0
    counts = np.where(shown, values[0], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        dwell, attention = values[1] / counts, values[2] / counts
    for at in shown.nonzero()[0].tolist() if asked else ():
        for name, means, sums in (("dwell", dwell, values[1]), ("attention", attention, values[2])):
            question = (*asked[at], name, int(counts[at]))
            means[at] = protection.published_mean(float(sums[at]), int(counts[at]), question)
    return Cells(visitors, dwell, attention)


def buckets(period: Period) -> tuple[list[Period], Callable[[Rows], Array]]:
    """The points of a chart, and the function that puts rows into them."""
    step = period.step
    if step == "hour":
        return [period] * 24, lambda rows: rows.hour
    if step == "day":
        days = [Period(period.first, period.first).moved(at) for at in range(period.days)]
        return days, lambda rows: rows.day - period.first.toordinal()
    parts: list[Period] = []
    first = period.first
    while first <= period.last:
        if step == "week":
            end = first + timedelta(6 - first.weekday())
        else:
            end = cube.next_month(first) - timedelta(1)
        parts.append(Period(first, min(end, period.last)))
        first = end + timedelta(1)
    edges = np.array([max(part.first, period.first).toordinal() for part in parts])
    return parts, lambda rows: np.searchsorted(edges, np.maximum(rows.day, edges[0]), "right") - 1
