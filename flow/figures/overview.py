"""The figures of the overview page."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from flow.figures import measure, model_error, quality
from flow.figures.measure import Array, Cells, Rows
from flow.figures.periods import Period
from flow.figures.protection import WITHHELD
from flow.figures.quality import Beginning
from flow.figures.question import ATTRIBUTES, LABELS, TITLES, VALUES, Question

UNKNOWN = "unknown"
HOURLY_DAYS = 31
"""Up to so many days, the hour that is not over matters in a comparison."""


@dataclass(frozen=True)
class Tile:
    """One large figure.

    Attributes:
        value: None where it may not be shown. unit: "", "s" or "%".
        after, before: what is compared: of equally long parts of the two periods.
    """

    title: str
    value: float | None
    after: float | None
    before: float | None
    unit: str = ""
    hint: str = ""

    @property
    def change_percent(self) -> float | None:
        if self.after is None or not self.before:
            return None
        return 100 * (self.after - self.before) / self.before


@dataclass(frozen=True)
class Row:
    """One line of a breakdown.

    Attributes:
        visitors: WITHHELD when it may not be shown.
        share: 0 … 1 of what is shown; None where there is none. low, high: 95 % interval.
    """

    word: str
    label: str
    visitors: int
    share: float | None
    low: float | None = None
    high: float | None = None
    dwell_s: float = float("nan")
    chosen: bool = False
    dark_percent: float = 0.0
    """Part of a site's opening hours in which its sensors were silent."""


@dataclass(frozen=True)
class Panel:
    name: str
    title: str
    rows: list[Row]
    note: str = ""


@dataclass(frozen=True)
class Point:
    """One point of the chart; values are None where withheld or still to come."""

    period: Period
    hour: int
    label: str
    value: float | None
    before: float | None
    dark: float
    """Share of the opening hours without any sign of life, 0 … 1."""
    open: bool
    """The stretch is not over: its value will still grow."""


@dataclass(frozen=True)
class Overview:
    tiles: list[Tile]
    points: list[Point]
    panels: list[Panel]
    quality: quality.Quality
    protected: bool
    version: int
    beginning: Beginning
    whole: bool
    """The sites counted during all of the compared period."""
    this_hour: int | None = field(default=None)


def overview(question: Question) -> Overview:
    """Everything on the page, from three reads of the cube."""
    period, other = question.period, question.other
    until = _until(question) if period.days <= HOURLY_DAYS else None
    rows = Rows(question, period, hours_of=until[0] if until else None)
    parts, bucket_of = measure.buckets(period)
    sums = rows.sums(bucket_of(rows), len(parts))
    time = measure.time_form(question, period)
    now = measure.groups(question, rows.whole(), [time])
    series = measure.groups(question, sums, _times(question, parts, period))

    before: _Before | None = None
    beginning = quality.beginning(question.sites, other)
    if other:
        before = _before(question, other, beginning)
    whole = other is None or beginning.reaches(other.first)
    watch = quality.Watch(question.sites, period, question.now)
    state = watch.quality()
    open_hours = sum(quality.open_hours(site, period, question.now) for site in question.sites)
    so_far = now
    if until and other:
        # Like with like: leave out the hour that is not over, in both periods.
        form = (*time, "until", until[0].toordinal(), until[1])
        so_far = measure.groups(question, rows.whole(rows.before(*until)), [form])
    tiles = _tiles(now, so_far, before if whole else None, open_hours)
    points = _points(question, parts, series, before.points if before else [], state)
    cells = rows.by_cell()
    tables = model_error.tables_at(question.site_ids)
    panels = [
        _site_panel(question, rows, watch),
        *(_attribute_panel(question, cells, name, time, tables[name]) for name in ATTRIBUTES),
        *_time_panels(question, period, rows),
    ]
    live = period.days == 1 and question.live
    hour_now = int(sums[1][question.now.hour]) if live else None
    return Overview(
        tiles, points, panels, state, bool(question.by_attribute), state.records, beginning,
        whole, hour_now,
    )  # fmt: skip


def _times(question: Question, parts: list[Period], period: Period) -> list[Any]:
    if period.step == "hour":
        return [measure.time_form(question, period, hour=hour) for hour in range(24)]
    return [measure.time_form(question, part) for part in parts]


@dataclass(frozen=True)
class _Before:
    """The compared period: the chart's points, the total so far, the opening hours so far."""

    points: list[float | None]
    total: Cells
    open_hours: int


def _before(question: Question, other: Period, beginning: Beginning) -> _Before:
    until = _until(question)
    moment = question.now - (question.period.first - other.first)
    hourly = until is not None and question.period.days <= HOURLY_DAYS
    rows = Rows(question, other, hours_of=moment.date() if hourly else None, cells=False)
    parts, bucket_of = measure.buckets(other)
    sums = rows.sums(bucket_of(rows), len(parts))
    series = measure.groups(question, sums, _times(question, parts, other))
    form: tuple[Any, ...] = measure.time_form(question, other)
    passing = rows.passing
    if until:
        # The present period is not over: compare with as much of the other one.
        hour = until[1] if hourly else 24
        passing = rows.before(moment.date(), hour)
        form = (*form, "until", moment.date().toordinal(), hour)
    total = measure.groups(question, rows.whole(passing), [form])
    open_hours = sum(quality.open_hours(site, other, moment) for site in question.sites)
    points = [
        value if beginning.reaches(part.first) else None
        for value, part in zip(_metric(series, question.metric), parts, strict=True)
    ]
    return _Before(points, total, open_hours)


def _until(question: Question) -> tuple[date, int] | None:
    """Day and hour of the present moment when the period is not over."""
    return (question.now.date(), question.now.hour) if question.live else None


def _value(cells: Cells | None, name: str = "visitors") -> float | None:
    if cells is None or cells.visitors[0] == WITHHELD:
        return None
    value = float(getattr(cells, name)[0])
    return None if np.isnan(value) else value


def _tiles(now: Cells, so_far: Cells, compared_with: _Before | None, open_hours: int) -> list[Tile]:
    before = compared_with.total if compared_with else None
    open_before = compared_with.open_hours if compared_with else 0
    past, compared = _value(before), _value(so_far)
    stay, past_stay = _value(so_far, "dwell_s"), _value(before, "dwell_s")
    looking, past_looking = _share_looking(so_far), _share_looking(before)
    hourly = compared / open_hours if compared is not None and open_hours else None
    past_hourly = past / open_before if past is not None and open_before else None
    partial = "so far" if now is not so_far else ""
    return [
        Tile("Visitors", _value(now), compared, past, hint=partial),
        Tile("Per open hour", hourly, hourly, past_hourly),
        Tile("Mean stay", _value(now, "dwell_s"), stay, past_stay, "s"),
        Tile("Looking", _share_looking(now), looking, past_looking, "%"),
    ]


def _share_looking(cells: Cells | None) -> float | None:
    """Attention as a share of the stay, in per cent."""
    look, stay = _value(cells, "attention_s"), _value(cells, "dwell_s")
    return 100 * look / stay if look is not None and stay else None


def _points(
    question: Question,
    parts: list[Period],
    series: Cells,
    past: list[float | None],
    state: quality.Quality,
) -> list[Point]:
    values = _metric(series, question.metric)
    points = []
    for at, part in enumerate(parts):
        hour = at if question.period.step == "hour" else -1
        future = part.first > question.now.date() or (
            hour > question.now.hour and part.first == question.now.date()
        )
        points.append(
            Point(
                part,
                hour,
                _label(part, hour, question.period.step),
                None if future else values[at],
                past[at] if at < len(past) else None,
                0.0 if hour >= 0 else state.dark_share(part),
                part.first <= question.now.date() <= part.last and hour in (-1, question.now.hour),
            )
        )
    return _by_day(question, points) if question.period.step == "hour" else points


def _by_day(question: Question, points: list[Point]) -> list[Point]:
    """The hours worth drawing: from the first opening or visit to the last."""
    weekday = question.period.first.weekday()
    drawn = [
        point.hour
        for point in points
        if point.value or point.before
        or any(site.is_open(weekday, point.hour) for site in question.sites)
    ]  # fmt: skip
    return points[min(drawn) : max(drawn) + 1] if drawn else points


def _label(part: Period, hour: int, step: str) -> str:
    if hour >= 0:
        return f"{hour:02d}:00"
    if step == "month":
        return f"{part.first:%b %Y}"
    if step == "week":
        return f"Week of {part.first.day} {part.first:%b}"
    return f"{part.first:%a} {part.first.day} {part.first:%b}"


def _metric(cells: Cells, metric: str) -> list[float | None]:
    values = {
        "visitors": cells.visitors.astype(float),
        "dwell": cells.dwell_s,
        "attention": cells.attention_s,
    }[metric]
    hidden = cells.visitors == WITHHELD
    return [
        None if gone or np.isnan(value) else float(value)
        for value, gone in zip(values, hidden, strict=True)
    ]


def _site_panel(question: Question, rows: Rows, watch: quality.Watch) -> Panel:
    at = {pk: index for index, pk in enumerate(question.site_ids)}
    bucket = np.array([at[pk] for pk in rows.site.tolist()], np.int64)
    sums = rows.sums(bucket, len(at))
    times = [measure.time_form(question, question.period, sites=[pk]) for pk in at]
    cells = measure.groups(question, sums, times)
    top = max(1, int(cells.visitors.max(initial=1)))
    chosen = len(question.sites) < len(question.visible)
    found = [
        Row(
            site.slug,
            site.name,
            int(cells.visitors[index]),
            max(0, int(cells.visitors[index])) / top,
            dwell_s=float(cells.dwell_s[index]),
            chosen=chosen,
            dark_percent=watch.quality(site).dark_percent,
        )
        for index, site in enumerate(question.sites)
    ]
    return Panel("site", "Sites", sorted(found, key=lambda row: -row.visitors))


def _attribute_panel(
    question: Question, sums: Array, name: str, time: Any, table: model_error.Table
) -> Panel:
    cells = measure.split(question, sums, name, time)
    words = VALUES[name]
    shares = model_error.by_word(words, cells.visitors, table, corrected=question.corrected)
    rows = [
        Row(
            word,
            LABELS[word],
            int(cells.visitors[at]),
            *shares[at],
            dwell_s=float(cells.dwell_s[at]),
            chosen=word in question.filters.get(name, ()),
        )
        for at, word in enumerate(words)
    ]
    if name == "expression":
        rows.sort(key=lambda row: (row.word == UNKNOWN, -row.visitors))
    else:
        rows.sort(key=lambda row: row.word == UNKNOWN)
    enough = bool((cells.visitors > 0).any())
    note = "" if enough else "Too few visitors to split without pointing at somebody."
    return Panel(name, TITLES[name], rows if enough else [], note)


def _time_panels(question: Question, period: Period, rows: Rows) -> list[Panel]:
    panels = []
    if period.step != "hour":
        hourly = (
            rows if rows.hourly else Rows(question, period, hours=True, days=False, cells=False)
        )
        times = [measure.time_form(question, period, hour=hour) for hour in range(24)]
        sums = hourly.sums(hourly.hour, 24)
        panels.append(_strip(question, "hour", measure.groups(question, sums, times)))
    if period.days > 7 and (period.step != "month" or "weekday" in question.filters):
        times = [measure.time_form(question, period, weekday=day) for day in range(7)]
        sums = rows.sums((rows.day - 1) % 7, 7)
        panels.append(_strip(question, "weekday", measure.groups(question, sums, times)))
    return panels


def _strip(question: Question, name: str, cells: Cells) -> Panel:
    top = max(1, int(cells.visitors.max(initial=1)))
    rows = [
        Row(
            word,
            LABELS.get(word, word) if name == "weekday" else f"{int(word):02d}:00",
            int(cells.visitors[at]),
            max(0, int(cells.visitors[at])) / top,
            dwell_s=float(cells.dwell_s[at]),
            chosen=word in question.filters.get(name, ()),
        )
        for at, word in enumerate(VALUES[name])
    ]
    while rows and rows[0].visitors <= 0 and not rows[0].chosen:
        rows.pop(0)
    while rows and rows[-1].visitors <= 0 and not rows[-1].chosen:
        rows.pop()
    return Panel(name, TITLES[name], rows)
