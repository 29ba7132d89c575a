"""What stands between the figures and the truth: lost records, dark sensors, wrong clocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flow.figures.periods import Period
from flow.models import Sensor, SensorDay, Site


@dataclass(frozen=True)
class Dark:
    """A sensor gave no sign of life during `hours` opening hours of a day."""

    sensor: Sensor
    day_ordinal: int
    hours: int
    of: int


@dataclass(frozen=True)
class Quality:
    """Of some sites in a period.

    Attributes:
        records: received. missing: numbers that should have come in between and did not; the
            most that were lost, for a power cut also skips numbers that nobody ever used.
        open_hours: opening hours, counted for each sensor; dark_hours: those without any
            sign of life.
        dark: by sensor and day, opening hours without a sign of life.
        due: day → opening hours, counted for each sensor that should have been there.
    """

    records: int
    missing: int
    unsynchronised: int
    open_hours: int
    dark_hours: int
    dark: tuple[Dark, ...]
    due: dict[int, int]

    def dark_share(self, period: Period) -> float:
        """Part of a stretch's opening hours without a sign of life, 0 … 1."""
        first, last = period.first.toordinal(), period.last.toordinal()
        due = sum(hours for day, hours in self.due.items() if first <= day <= last)
        hours = sum(gap.hours for gap in self.dark if first <= gap.day_ordinal <= last)
        return hours / due if due else 0.0

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


def open_hours(site: Site, period: Period, now: datetime) -> int:
    """Opening hours of a period that have passed."""
    return sum(len(_due(site, day, now)) for day in _days(period))


def of(sites: list[Site], period: Period, now: datetime) -> Quality:
    """Look at every sensor of these sites on every day of the period."""
    by_id = {site.pk: site for site in sites}
    sensors = list(
        Sensor.objects.filter(site__in=by_id, retired=False).only(
            "id", "name", "site_id", "added_at"
        )
    )
    days: dict[tuple[int, int], tuple[int, int | None, int | None, int, int]] = {}
    earliest: dict[int, int] = {}
    fields = ("sensor_id", "day", "records", "first", "last", "unsynchronised", "alive")
    # One day more, so that the gap across the first midnight is seen.
    for sensor_id, day, *rest in SensorDay.objects.filter(
        site__in=by_id, day__range=(period.first - timedelta(1), period.last)
    ).values_list(*fields):
        days[sensor_id, day.toordinal()] = tuple(rest)
        earliest[sensor_id] = min(day.toordinal(), earliest.get(sensor_id, day.toordinal()))
    records = missing = unsynchronised = dark_hours = 0
    dark = []
    due_of: dict[int, int] = {}
    calendar = {site.pk: [_due(site, day, now) for day in _days(period)] for site in sites}
    start = period.first.toordinal()
    for sensor in sensors:
        seen = days.get((sensor.pk, start - 1))
        highest = seen[2] if seen else None
        added = sensor.added_at.date().toordinal()
        since = min(added, earliest.get(sensor.pk, added))
        for at, due in enumerate(calendar[sensor.site_id]):
            held = days.get((sensor.pk, start + at))
            alive = 0
            if held:
                count, first, last, wrong, alive = held
                records += count
                unsynchronised += wrong
                if first is not None and last is not None:
                    begin = first if highest is None else min(highest + 1, first)
                    missing += max(0, last - begin + 1 - count)
                    highest = last if highest is None else max(highest, last)
            if start + at < since:
                continue
            hours = sum(1 for hour in due if not alive >> hour & 1)
            due_of[start + at] = due_of.get(start + at, 0) + len(due)
            if hours:
                dark_hours += hours
                dark.append(Dark(sensor, start + at, hours, len(due)))
    hours = sum(due_of.values())
    return Quality(records, missing, unsynchronised, hours, dark_hours, tuple(dark), due_of)


def _days(period: Period) -> list[int]:
    return list(range(period.first.toordinal(), period.last.toordinal() + 1))


def _due(site: Site, ordinal: int, now: datetime) -> range:
    """Opening hours of a day that are over."""
    opens, closes = site.hours[(ordinal - 1) % 7]
    here = now.astimezone(site.zone)
    today = here.date().toordinal()
    if ordinal > today:
        return range(0)
    return range(opens, min(closes, here.hour) if ordinal == today else closes)
