"""A customer that does not exist: three shops, five sensors, a year of visitors.

Drawn from simple assumptions (weekday, season, hour, who shops where) with a fixed seed; it is for
trying the application out and says nothing about real shops. Only the roll-ups are filled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
from django.db import transaction

from firmware.record import AgeCategory
from flow.figures import cube, model_error
from flow.figures.cube import AGES, EXPRESSIONS, GENDERS
from flow.figures.question import ATTRIBUTES, VALUES
from flow.ingest import rows
from flow.models import Customer, Sensor, Site

DAYS = 400
"""A year, and enough of the one before to compare with."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Shop:
    """`busy`: visitors on an average day; `women`, `young`: shares; `peak`: the busiest hour."""

    name: str
    slug: str
    zone: str
    hours: tuple[tuple[int, int], ...]
    floor_m2: int
    staff: int
    busy: int
    women: float
    young: float
    peak: int
    sensors: tuple[str, ...]


SHOPS = (
    Shop("Oslo, Karl Johan", "oslo", "Europe/Oslo", ((9, 20),) * 5 + ((10, 18), (0, 0)),
         420, 11, 920, 0.56, 0.42, 16, ("Main entrance", "Courtyard entrance")),
    Shop("København, Strøget", "kobenhavn", "Europe/Copenhagen",
         ((10, 19),) * 5 + ((10, 18), (11, 17)), 310, 8, 640, 0.61, 0.35, 15,
         ("Entrance", "Window screen")),
    Shop("Malmö Central", "malmo", "Europe/Stockholm", ((7, 21),) * 5 + ((9, 19), (10, 18)),
         150, 4, 380, 0.48, 0.30, 8, ("Entrance",)),
)  # fmt: skip
_WEEK = np.array([0.86, 0.84, 0.92, 1.0, 1.22, 1.36, 0.9])
_AGES = np.array([0.03, 0.06, 0.15, 0.24, 0.21, 0.15, 0.10, 0.06])
_EXPRESSIONS = np.array([0.07, 0.03, 0.01, 0.02, 0.22, 0.54, 0.07, 0.04])


def cell_shares(shop: Shop) -> Floats:
    """(CELLS,) how likely each combination is. Children have no finer values."""
    ages = _AGES.copy()
    ages[2:5] *= 0.7 + shop.young
    ages /= ages.sum()
    genders = np.array([0.05, 0.95 * shop.women, 0.95 * (1 - shop.women)])
    assert len(ages) == len(AGES) and len(genders) == len(GENDERS)
    assert len(_EXPRESSIONS) == len(EXPRESSIONS)
    shares = np.einsum("g,a,e->gae", genders, ages, _EXPRESSIONS)
    for axis, name in enumerate(ATTRIBUTES):
        shares = _as_estimated(shares, axis, name, VALUES[name])
    child = AGES.index(AgeCategory.CHILD)
    everybody = shares[:, child].sum()
    shares[:, child] = 0
    shares[0, child, 0] = everybody
    result: Floats = (shares / shares.sum()).ravel()
    return result


def _as_estimated(shares: Floats, axis: int, name: str, words: tuple[str, ...]) -> Floats:
    """True shares → what a sensor with the default models would estimate."""
    table = model_error.tables()[name]
    known = [words.index(word) for word in table.categories]
    confusion = np.eye(len(words))
    counts = np.array(table.counts, np.float64)
    confusion[np.ix_(known, known)] = counts / counts.sum(1, keepdims=True)
    estimated: Floats = np.moveaxis(np.tensordot(shares, confusion, (axis, 0)), -1, axis)
    return estimated


def day_of_visits(
    shop: Shop, day: date, random: np.random.Generator, busy: float = 1.0
) -> dict[int, cube.Sums]:
    """Local hour → sums of one day at one shop."""
    opens, closes = shop.hours[day.weekday()]
    if opens == closes:
        return {}
    season = 1 + 0.18 * np.sin((day.timetuple().tm_yday - 80) / 365 * 2 * np.pi)
    season *= 1.45 if day.month == 12 and day.day < 24 else 1.0
    growth = 1 + 0.0002 * (day.toordinal() % 1000)
    mean = shop.busy * busy * _WEEK[day.weekday()] * season * growth * random.normal(1, 0.07)
    hours = np.arange(opens, closes)
    weights = np.exp(-(((hours - shop.peak) / 3.4) ** 2)) + 0.25
    shares = cell_shares(shop)
    found = {}
    for hour, weight in zip(hours.tolist(), weights / weights.sum(), strict=True):
        visitors = random.multinomial(random.poisson(max(mean, 1) * weight), shares)
        cells = visitors.nonzero()[0]
        many = visitors[cells]
        stay = random.gamma(many * 1.6, 85.0)
        look = stay * random.beta(6, 9, len(cells))
        found[hour] = {
            cell: [count, dwell, attention]
            for cell, count, dwell, attention in zip(
                cells.tolist(), many.tolist(), stay.astype(int).tolist(),
                look.astype(int).tolist(), strict=True,
            )
        }  # fmt: skip
    return found


def roll_up(site: int, days: Iterable[tuple[date, dict[int, cube.Sums]]]) -> None:
    """Write the cube of one site in every grain."""
    out: dict[cube.Key, cube.Hours] = {}
    for day, hours in days:
        for hour, sums in hours.items():
            cube.spread(out, site, day, hour, sums)
    cube.write(out)


@transaction.atomic
def fill(customer: Customer, now: datetime | None = None, *, days: int | None = None) -> int:
    """Make the three shops; returns the number of visits."""
    moment = now or datetime.now(timezone.utc)
    visits = 0
    for at, shop in enumerate(SHOPS):
        site = Site.objects.create(
            customer=customer, name=shop.name, slug=shop.slug, time_zone=shop.zone,
            hours=[list(day) for day in shop.hours], floor_m2=shop.floor_m2, staff=shop.staff,
        )  # fmt: skip
        visits += _fill_site(site, shop, at, moment, DAYS if days is None else days)
    return visits


def _fill_site(site: Site, shop: Shop, seed: int, moment: datetime, many: int) -> int:
    random = np.random.default_rng(seed)
    here = moment.astimezone(site.zone)
    today = here.date()
    sensors = [_sensor(site, shop, at, name, moment) for at, name in enumerate(shop.sensors)]
    numbers = [1] * len(sensors)
    days: list[tuple[date, dict[int, cube.Sums]]] = []
    presence: list[tuple[Any, ...]] = []
    visits = 0
    for back in range(many, -1, -1):
        day = today - timedelta(back)
        hours = day_of_visits(shop, day, random)
        # In Malmö the power was off for two days, and half a day is missing in Oslo.
        dark = set(range(24)) if (seed, back) in {(2, 11), (2, 12)} else set()
        dark |= set(range(13, 24)) if (seed, back) == (0, 4) else set()
        if back == 0:
            dark |= set(range(here.hour + 1, 24))
        hours = {hour: sums for hour, sums in hours.items() if hour not in dark}
        days.append((day, hours))
        count = sum(values[0] for sums in hours.values() for values in sums.values())
        visits += count
        for at, sensor in enumerate(sensors):
            share = count // len(sensors)
            lost = int(random.random() < 0.04) * int(random.integers(1, 30))
            first, last = numbers[at], numbers[at] + share + lost - 1
            numbers[at] = last + 1
            alive = sum(1 << hour for hour in range(24) if hour not in dark)
            seen = (first, last) if share else (None, None)
            unsure = 14 if back == 20 else 0
            presence.append((sensor.pk, day, site.pk, share, *seen, unsure, alive))
    roll_up(site.pk, days)
    columns = ("site_id", "records", "first", "last", "unsynchronised", "alive")
    rows.upsert("flow_sensorday", ("sensor_id", "day"), columns, presence)
    return visits


def _sensor(site: Site, shop: Shop, at: int, name: str, moment: datetime) -> Sensor:
    trouble = shop.slug == "kobenhavn" and at == 1
    health = {
        "schema": 1, "firmware": "1.0.0", "frames_per_s_x10": 38 if trouble else 121,
        "temperature_c": 83 if trouble else 54 + at, "throttled_percent": 20 if trouble else 0,
        "waiting": 0, "dropped": 0, "selftest": "passed", "selftest_hits": 0,
        "selftest_controls": 27, "selftest_at_utc_s": int(moment.timestamp()) - 18_000,
        "clock_synchronised": True, "certificate_days": 212, "uptime_s": 812_400,
        "wipe_ms_p95_x10": 480, "frame_ms_p95_x10": 710, "reconnects": 3,
    }  # fmt: skip
    return Sensor.objects.create(
        device=f"demo-{site.slug}-{at + 1}", name=name, site=site, certificates="",
        last_seen=moment - timedelta(hours=6 if shop.slug == "malmo" else 0),
        health=health, health_at=moment, model_set="",
        reported={
            "capabilities": {"mode": "attributes", "context": "retail"},
            "update": {"state": "downloading", "version": "1.1.0", "percent": 40} if at else {},
        },
    )  # fmt: skip
