"""Visits put straight into the cube, for tests of figures."""

from __future__ import annotations

from datetime import date

from firmware.record import AgeCategory, Expression, Gender
from flow.figures import cube
from flow.figures.cube import Sums, cell_of
from flow.ingest import rows
from flow.models import Sensor, Site

WOMEN = cell_of(Gender.FEMALE, AgeCategory.A25_34, Expression.HAPPY)
MEN = cell_of(Gender.MALE, AgeCategory.A35_44, Expression.NEUTRAL)


def put(site: Site, day: date, hour: int = 12, *, women: int = 0, men: int = 0) -> None:
    """So many visitors of ten seconds each, four of them looking."""
    sums: Sums = {}
    for cell, count in ((WOMEN, women), (MEN, men)):
        if count:
            sums[cell] = [count, count * 100, count * 40]
    made: dict[cube.Key, cube.Hours] = {}
    cube.spread(made, site.pk, day, hour, sums)
    for key, held in rows.select("flow_cube", cube.KEYS, ("cells",), list(made)).items():
        cube.add(made[key], cube.decode(held[0]))
    cube.write(made)


def presence(
    sensor: Sensor, day: date, *, records: int, first: int, last: int, alive: int = (1 << 24) - 1
) -> None:
    rows.upsert(
        "flow_sensorday",
        ("sensor_id", "day"),
        ("site_id", "records", "first", "last", "unsynchronised", "alive"),
        [(sensor.pk, day, sensor.site_id, records, first, last, 0, alive)],
    )
