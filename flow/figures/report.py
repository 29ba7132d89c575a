"""A report: one table, split as asked, with the comparison and what it is divided by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flow.figures import measure, model_error, quality
from flow.figures.measure import Array, Cells, Rows
from flow.figures.periods import Period
from flow.figures.protection import WITHHELD
from flow.figures.quality import Beginning
from flow.figures.question import ATTRIBUTES, LABELS, VALUES, Question

SPLITS = {
    "site": "Site",
    "time": "Time",
    "hour": "Hour of the day",
    "weekday": "Weekday",
    "gender": "Gender",
    "age": "Age",
    "expression": "Expression",
}
PER = {
    "none": "as counted",
    "hour": "for each opening hour",
    "m2": "for each m² of floor",
    "staff": "for each member of staff",
}


@dataclass(frozen=True)
class Line:
    """One line of a report.

    Attributes:
        visitors, before: WITHHELD where too few. rate: visitors divided by what was asked.
        low, high: 95 % interval of the share. dark_percent: opening hours without any sensor.
    """

    label: str
    visitors: int
    before: int | None
    rate: float | None
    dwell_s: float
    attention_s: float
    share: float | None = None
    low: float | None = None
    high: float | None = None
    dark_percent: float = 0.0
    missing: int = 0
    comparable: bool = True
    """The sites counted during all of the compared period."""

    @property
    def change_percent(self) -> float | None:
        if self.visitors < 0 or self.before is None or self.before <= 0 or not self.comparable:
            return None
        return 100 * (self.visitors - self.before) / self.before


@dataclass(frozen=True)
class Report:
    question: Question
    split: str
    per: str
    lines: list[Line]
    total: Line
    quality: quality.Quality
    beginning: Beginning

    @property
    def split_title(self) -> str:
        return SPLITS[self.split]

    @property
    def per_title(self) -> str:
        return PER[self.per]


def choices(query: Mapping[str, str]) -> tuple[str, str]:
    """Split and divisor of a URL's query."""
    split, per = query.get("split", "site"), query.get("per", "none")
    return split if split in SPLITS else "site", per if per in PER else "none"


def report(question: Question, split: str, per: str) -> Report:
    """Ask the cube and put the answer into lines; protected like everything that is shown."""
    labels, now, whole = _figures(question, question.period, split)
    before: Cells | None = None
    before_whole: Cells | None = None
    if question.other:
        _, before, before_whole = _figures(question, question.other, split)
    watch = quality.Watch(question.sites, question.period, question.now)
    state = watch.quality()
    beginning = quality.beginning(question.sites, question.other)
    comparable = question.other is None or beginning.reaches(question.other.first)
    divisors = _divisors(question, split, per, len(labels))
    shares: list[model_error.WithInterval] = [(None, None, None)] * len(labels)
    if split in ATTRIBUTES:
        table = model_error.tables_at(question.site_ids)[split]
        shares = model_error.by_word(
            VALUES[split], now.visitors, table, corrected=question.corrected
        )
    lines = []
    for at, label in enumerate(labels):
        part = watch.quality(question.sites[at]) if split == "site" else None
        aligned = before is not None and at < len(before.visitors)
        lines.append(
            Line(
                label,
                int(now.visitors[at]),
                int(before.visitors[at]) if before is not None and aligned else None,
                _rate(int(now.visitors[at]), divisors[at]),
                float(now.dwell_s[at]),
                float(now.attention_s[at]),
                *shares[at],
                dark_percent=part.dark_percent if part else 0.0,
                missing=part.missing if part else 0,
                comparable=comparable,
            )
        )
    if split == "site":
        by = (lambda line: -(line.rate or 0)) if per != "none" else (lambda line: -line.visitors)
        lines.sort(key=by)
    total = Line(
        "All",
        int(whole.visitors[0]),
        int(before_whole.visitors[0]) if before_whole else None,
        _rate(int(whole.visitors[0]), _divisors(question, "none", per, 1)[0]),
        float(whole.dwell_s[0]),
        float(whole.attention_s[0]),
        dark_percent=state.dark_percent,
        missing=state.missing,
        comparable=comparable,
    )
    return Report(question, split, per, lines, total, state, beginning)


def _figures(question: Question, period: Period, split: str) -> tuple[list[str], Cells, Cells]:
    """Labels and cells of each line, and the cells of all together."""
    rows = Rows(
        question,
        period,
        hours=split == "hour",
        days=None if split == "time" else split == "weekday",
        cells=split in ATTRIBUTES,
    )
    time = measure.time_form(question, period)
    whole = measure.groups(question, rows.whole(), [time])
    if split in ATTRIBUTES:
        labels = [LABELS[word] for word in VALUES[split]]
        return labels, measure.split(question, rows.by_cell(), split, time), whole
    labels, bucket, times = _lines(question, period, split, rows)
    return labels, measure.groups(question, rows.sums(bucket, len(labels)), times), whole


def _lines(
    question: Question, period: Period, split: str, rows: Rows
) -> tuple[list[str], Array, list[Any]]:
    form = measure.time_form
    if split == "site":
        place = {pk: at for at, pk in enumerate(question.site_ids)}
        bucket = np.array([place[pk] for pk in rows.site.tolist()], np.int64)
        times = [form(question, period, sites=[pk]) for pk in place]
        return [site.name for site in question.sites], bucket, times
    if split == "hour":
        times = [form(question, period, hour=hour) for hour in range(24)]
        return [f"{hour:02d}:00" for hour in range(24)], rows.hour, times
    if split == "weekday":
        times = [form(question, period, weekday=day) for day in range(7)]
        return [LABELS[day] for day in VALUES["weekday"]], (rows.day - 1) % 7, times
    parts, bucket_of = measure.buckets(period)
    if period.step == "hour":
        times = [form(question, period, hour=hour) for hour in range(24)]
        return [f"{hour:02d}:00" for hour in range(24)], bucket_of(rows), times
    labels = [f"{part.first:%B %Y}" if period.step == "month" else part.text() for part in parts]
    return labels, bucket_of(rows), [form(question, part) for part in parts]


def _divisors(question: Question, split: str, per: str, many: int) -> list[float | None]:
    """What each line's visitors are divided by; None where nothing is known."""
    if per == "none":
        return [None] * many
    sizes: list[float | None] = []
    for site in question.sites:
        if per == "hour":
            size: float | None = quality.open_hours(site, question.period, question.now)
        else:
            size = site.floor_m2 if per == "m2" else site.staff
        sizes.append(float(size) if size else None)
    if split == "site":
        return sizes
    known = [size for size in sizes if size]
    whole = sum(known) if len(known) == len(sizes) else None
    return [whole] * many


def _rate(visitors: int, divisor: float | None) -> float | None:
    return visitors / divisor if divisor and visitors != WITHHELD else None
