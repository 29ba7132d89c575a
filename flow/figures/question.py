"""What a page or report asks: sites, period, comparison and filters, all of it in the URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import urlencode

import numpy as np
from django.http import QueryDict

from flow.figures.cube import AGES, EXPRESSIONS, GENDERS
from flow.figures.periods import Period, from_query
from flow.models import Site

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ATTRIBUTES = ("gender", "age", "expression")
VALUES: dict[str, tuple[str, ...]] = {
    "gender": tuple(value.value for value in GENDERS),
    "age": tuple(value.value for value in AGES),
    "expression": tuple(value.value for value in EXPRESSIONS),
    "weekday": WEEKDAYS,
    "hour": tuple(str(hour) for hour in range(24)),
}
"""Filter → the words that it takes, in the order in which they are shown."""

TITLES = {
    "gender": "Gender",
    "age": "Age",
    "expression": "Expression",
    "weekday": "Weekday",
    "hour": "Hour of the day",
}
LABELS = {
    "female": "Women",
    "male": "Men",
    "child": "Children under 16",
    "unknown": "Not known",
    "16-24": "16–24",
    "25-34": "25–34",
    "35-44": "35–44",
    "45-54": "45–54",
    "55-64": "55–64",
    "65+": "65 and over",
    "angry": "Angry",
    "disgust": "Disgust",
    "fear": "Fear",
    "happy": "Happy",
    "neutral": "Neutral",
    "sad": "Sad",
    "surprise": "Surprise",
    "mon": "Monday",
    "tue": "Tuesday",
    "wed": "Wednesday",
    "thu": "Thursday",
    "fri": "Friday",
    "sat": "Saturday",
    "sun": "Sunday",
}
"""Words of filters as people read them."""
KEEP = ("period", "from", "to", "compare", "cfrom", "cto", "site", *VALUES, "shares", "metric")
METRICS = {"visitors": "Visitors", "dwell": "Stay", "attention": "Attention"}

Chosen = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Question:
    """Everything that decides the figures; made from a URL, and a URL again.

    Attributes:
        sites: those asked about. visible: all that the asker may see.
        now: the present moment on the clock of the first site.
        filters: name → the words chosen; a filter without words is absent.
        corrected: show shares with the models' known error taken out.
    """

    visible: tuple[Site, ...]
    sites: tuple[Site, ...]
    now: datetime
    preset: str
    period: Period
    comparing: str
    other: Period | None
    filters: dict[str, tuple[str, ...]]
    corrected: bool
    metric: str
    query: dict[str, str]

    @cached_property
    def site_ids(self) -> list[int]:
        return [site.pk for site in self.sites]

    @property
    def live(self) -> bool:
        return self.period.first <= self.now.date() <= self.period.last

    @property
    def by_attribute(self) -> bool:
        return any(name in self.filters for name in ATTRIBUTES)

    def chosen(self, name: str) -> Chosen:
        """Which of a filter's values count; all of them where it is not set."""
        return _chosen(name, self.filters.get(name))

    def link(self, **changes: str | None) -> str:
        """The query string with some parts changed; None takes one out."""
        query = {**self.query, **changes}
        return "?" + "&".join(_pair(name, value) for name in KEEP if (value := query.get(name)))

    def toggled(self, name: str, word: str) -> str:
        """The link on a row of a breakdown: adds its filter, or takes it out again."""
        words = set(self.filters.get(name, ()))
        words ^= {word}
        ordered = [value for value in VALUES[name] if value in words]
        return self.link(**{name: ",".join(ordered) or None})


@lru_cache(1024)
def _chosen(name: str, words: tuple[str, ...] | None) -> Chosen:
    """A page asks this some hundred times."""
    found = np.array([words is None or word in words for word in VALUES[name]])
    found.flags.writeable = False
    return found


@lru_cache(1024)
def _pair(name: str, value: str) -> str:
    """One part of a query string; a page's links are made of few of them."""
    return urlencode({name: value}, safe=",:")


def merged(query: QueryDict) -> dict[str, str]:
    """A URL's query with `age=a&age=b` (from a form) made into `age=a,b` (as links have it)."""
    return {name: ",".join(filter(None, values)) for name, values in query.lists()}


def ask(
    query: Mapping[str, str], visible: Sequence[Site], *, now: datetime | None = None
) -> Question:
    """Read a URL's query. What makes no sense in it is left out: an old link still opens."""
    slugs = set(query.get("site", "").split(","))
    sites = tuple(site for site in visible if site.slug in slugs) or tuple(visible)
    zone = sites[0].zone if sites else None
    here = now.astimezone(zone) if now else datetime.now(zone)
    preset, period, comparing, other = from_query(query, here.date())
    filters = {}
    for name, values in VALUES.items():
        words = [word for word in values if word in query.get(name, "").split(",")]
        if words and len(words) < len(values):
            filters[name] = tuple(words)
    return Question(
        visible=tuple(visible),
        sites=sites,
        now=here,
        preset=preset,
        period=period,
        comparing=comparing,
        other=other,
        filters=filters,
        corrected=query.get("shares") == "corrected",
        metric=query.get("metric", "") if query.get("metric") in METRICS else "visitors",
        query={name: query[name] for name in KEEP if query.get(name)},
    )


def weekday_of(day: date) -> str:
    return WEEKDAYS[day.weekday()]
