"""What stands between the figures and the truth: lost records, dark sensors, wrong clocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np

from flow.figures.periods import Period
from flow.ingest import rows
from flow.models import Sensor, Site

Array = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Quality:
    """Of some sensors in a period.

    Attributes:
        records: received. missing: numbers that should have come in between and did not; the
            most that were lost, for a power cut also skips numbers that nobody ever used.
        due, dark: (days,) opening hours, counted for each sensor, and those of them without any
            sign of life.
    """

    period: Period
    records: int
    missing: int
    unsynchronised: int
    due: Array
    dark: Array

    @property
    def open_hours(self) -> int:
        return int(self.due.sum())

    @property
    def dark_hours(self) -> int:
        return int(self.dark.sum())

    @property
    def missing_percent(self) -> float:
        expected = self.records + self.missing
        return 100 * self.missing / expected if expected else 0.0

    @property
    def dark_percent(self) -> float:
        return 100 * self.dark_hours / self.open_hours if self.open_hours else 0.0

    @property
    def clean(self) -> bool:
        return not (self.missing or self.unsynchronised or self.dark_hours)

    def dark_share(self, part: Period) -> float:
        """Part of a stretch's opening hours without a sign of life, 0 … 1."""
        start = (part.first - self.period.first).days
        days = slice(start, start + part.days)
        due = int(self.due[days].sum())
        return int(self.dark[days].sum()) / due if due else 0.0


@dataclass(frozen=True)
class Beginning:
    """What a comparison must know: since when the sites count at all.

    Attributes:
        first: day of the first sign of life of any sensor; None where nothing ever came.
        later: sites that began after the comparison's first day, though others were there.
    """

    first: date | None
    later: tuple[tuple[Site, date], ...]

    def reaches(self, day: date) -> bool:
        """Whether the sites counted that day; unknown counts as yes."""
        return self.first is None or self.first <= day


def beginning(sites: Sequence[Site], compared: Period | None) -> Beginning:
    """Since when these sites count, as a comparison with that period needs to know it."""
    if compared is None:
        return Beginning(None, ())
    found = dict(
        rows.fetch(
            "SELECT id, (SELECT min(day) FROM flow_sensorday WHERE site_id = flow_site.id) "  # noqa: S608
            f"FROM flow_site WHERE id IN ({','.join(['%s'] * len(sites))})",
            [site.pk for site in sites],
        )
    )
    known = [(site, rows.day(found[site.pk])) for site in sites if found.get(site.pk)]
    first = min((day for _, day in known), default=None)
    if first is None or first > compared.first:
        return Beginning(first, ())
    return Beginning(first, tuple((site, day) for site, day in known if day > compared.first))


class Watch:
    """Every sensor of some sites on every day of a period, read once."""

    def __init__(self, sites: Sequence[Site], period: Period, now: datetime) -> None:
        self.period = period
        by_id = {site.pk: site for site in sites}
        sensors = Sensor.objects.filter(site__in=by_id, retired=False)
        found = list(sensors.values_list("pk", "site_id", "added_at").order_by())
        place = {pk: at for at, (pk, _, _) in enumerate(found)}
        self.site = np.array([site for _, site, _ in found], np.int64)
        shape = (len(found), period.days + 1)  # with the day before, for the gap over midnight
        self.records, self.unsure, self.alive = (np.zeros(shape, np.int64) for _ in range(3))
        self.first = np.full(shape, -1, np.int64)
        self.last = np.full(shape, -1, np.int64)
        seen = np.zeros(shape, bool)
        start = period.first - timedelta(1)
        found_days = chain.from_iterable(_days(list(by_id), start, period.last))
        kept = np.fromiter(found_days, np.int64).reshape(-1, 7)
        kept = kept[np.isin(kept[:, 0], list(place))]
        if len(kept):
            distinct, which = np.unique(kept[:, 0], return_inverse=True)
            sensor, on = np.array([place[one] for one in distinct.tolist()])[which], kept[:, 1]
            tables = (self.records, self.first, self.last, self.unsure, self.alive)
            for table, values in zip(tables, kept.T[2:], strict=True):
                table[sensor, on] = values
            seen[sensor, on] = True
        due = {pk: due_hours(site, period, now) for pk, site in by_id.items()}
        bits = [due[site] for _, site, _ in found]
        self.due_bits = np.array(bits, np.int64).reshape(-1, period.days)
        # A sensor is expected from its first sign of life, or its registration, whichever is first.
        for at, (_, _, added) in enumerate(found):
            known = (added.date() - period.first).days
            first = int(seen[at, 1:].argmax()) if seen[at, 1:].any() else known
            self.due_bits[at, : max(0, min(known, first))] = 0

    def quality(self, site: Site | None = None) -> Quality:
        """Of one site's sensors, or of all."""
        chosen = slice(None) if site is None else self.site == site.pk
        records, first, last = self.records[chosen], self.first[chosen], self.last[chosen]
        highest = np.maximum.accumulate(last, axis=1)[:, :-1]
        first, last, counted = first[:, 1:], last[:, 1:], records[:, 1:]
        begin = np.where(highest < 0, first, np.minimum(highest + 1, first))
        missing = np.where(last >= 0, np.maximum(0, last - begin + 1 - counted), 0)
        due = self.due_bits[chosen]
        dark = due & ~self.alive[chosen][:, 1:]
        return Quality(
            self.period,
            int(counted.sum()),
            int(missing.sum()),
            int(self.unsure[chosen][:, 1:].sum()),
            _bits(due).sum(axis=0),
            _bits(dark).sum(axis=0),
        )


def _days(sites: list[int], first: date, last: date) -> list[tuple[Any, ...]]:
    """Each sensor's days, counted from `first`; numbers are −1 where none came."""
    return rows.fetch(
        f"SELECT sensor_id, {rows.days_since('day')}, records, "  # noqa: S608
        'coalesce("first", -1), coalesce("last", -1), unsynchronised, alive '
        "FROM flow_sensorday WHERE day BETWEEN %s AND %s "
        f"AND site_id IN ({','.join(['%s'] * len(sites))})",
        [first, first, last, *sites],
    )


def open_hours(site: Site, period: Period, now: datetime) -> int:
    """Opening hours of a period that are over."""
    return int(_bits(due_hours(site, period, now)).sum())


def due_hours(site: Site, period: Period, now: datetime) -> Array:
    """(days,) bit h is set where the site was open in hour h and that hour is over."""
    week = np.array([(1 << closes) - (1 << opens) for opens, closes in site.hours], np.int64)
    days = np.arange(period.first.toordinal(), period.last.toordinal() + 1)
    here = now.astimezone(site.zone)
    today = here.date().toordinal()
    bits: Array = week[(days - 1) % 7]
    bits[days > today] = 0
    bits[days == today] &= (1 << here.hour) - 1
    return bits


def _bits(masks: Array) -> Array:
    """How many of the 24 hours are set in each mask."""
    return np.bitwise_count(masks).astype(np.int64)
