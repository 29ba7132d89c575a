"""Periods in local days: presets, custom ranges and what they are compared with."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

PRESETS = {
    "today": "Today",
    "yesterday": "Yesterday",
    "7d": "Last 7 days",
    "28d": "Last 28 days",
    "month": "This month",
    "last-month": "Last month",
    "12mo": "Last 12 months",
    "year": "This year",
    "custom": "Custom range",
}
COMPARISONS = {
    "previous": "Previous period",
    "year": "Same period last year",
    "custom": "Custom range",
    "none": "No comparison",
}
MAX_DAYS = 366 * 5


@dataclass(frozen=True)
class Period:
    """Local days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def whole_months(self) -> bool:
        end = calendar.monthrange(self.last.year, self.last.month)[1]
        return self.first.day == 1 and self.last.day == end

    @property
    def step(self) -> str:
        """What one point of a chart stands for: hour, day, week or month."""
        if self.days <= 1:
            return "hour"
        if self.days <= 92:
            return "day"
        return "month" if self.days > 190 else "week"

    def moved(self, days: int) -> Period:
        return Period(self.first + timedelta(days), self.last + timedelta(days))

    def text(self) -> str:
        if self.days == 1:
            return f"{self.first:%a} {self.first.day} {self.first:%b %Y}"
        first = f"{self.first.day} {self.first:%b}"
        if self.first.year != self.last.year:
            first += f" {self.first.year}"
        return f"{first} – {self.last.day} {self.last:%b %Y}"


def chosen(name: str, first: date | None, last: date | None, today: date) -> Period:
    """The period of a preset, or the custom one; a senseless range becomes the nearest one."""
    month = today.replace(day=1)
    if name == "custom" and first and last:
        first, last = sorted((first, last))
        return Period(max(first, last - timedelta(MAX_DAYS - 1)), last)
    if name == "yesterday":
        return Period(today, today).moved(-1)
    if name == "last-month":
        end = month - timedelta(1)
        return Period(end.replace(day=1), end)
    starts = {
        "7d": today - timedelta(6),
        "28d": today - timedelta(27),
        "month": month,
        "12mo": _months_before(month, 11),
        "year": today.replace(month=1, day=1),
    }
    return Period(starts.get(name, today), today)


def compared(period: Period, how: str, first: date | None, last: date | None) -> Period | None:
    """What a period is compared with. Weekdays are aligned: shops live by the week.

    Whole months are compared with whole months, everything else with days that begin on the
    same weekday.
    """
    if how == "custom" and first and last:
        return chosen("custom", first, last, last)
    if how == "previous":
        if period.whole_months or period.step == "month":
            months = (period.last.year - period.first.year) * 12
            months += period.last.month - period.first.month + 1
            return _moved_months(period, months)
        return period.moved(-7 * -(-period.days // 7))
    if how == "year":
        if period.whole_months or period.step == "month":
            return _moved_months(period, 12)
        return period.moved(-364)
    return None


def _months_before(day: date, months: int) -> date:
    """The same day so many months earlier, or that month's last one."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return day.replace(
        year=year, month=month + 1, day=min(day.day, calendar.monthrange(year, month + 1)[1])
    )


def _moved_months(period: Period, months: int) -> Period:
    last = _months_before(period.last, months)
    if period.whole_months:
        last = last.replace(day=calendar.monthrange(last.year, last.month)[1])
    return Period(_months_before(period.first, months), last)


def day_of(text: str) -> date | None:
    """A day of this century, or None."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year < 2100 else None


def from_query(query: Mapping[str, str], today: date) -> tuple[str, Period, str, Period | None]:
    """Name of the preset, period, way of comparing, and what it is compared with."""
    name = query.get("period", "today")
    name = name if name in PRESETS else "today"
    how = query.get("compare", "previous")
    how = how if how in COMPARISONS else "previous"
    period = chosen(name, day_of(query.get("from", "")), day_of(query.get("to", "")), today)
    other = compared(period, how, day_of(query.get("cfrom", "")), day_of(query.get("cto", "")))
    return name, period, how, other
