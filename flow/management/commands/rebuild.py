"""`python -m flow rebuild`: make the roll-ups again from the single interactions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection, transaction

from flow.figures import cube
from flow.figures.cube import Grain
from flow.ingest import table
from flow.ingest.rows import day as day_of
from flow.models import Cube, Site

_SUMS = f"""
    SELECT day, hour, cell, count(*),
      sum(CASE WHEN dwell_ds > {cube.MAX_STAY_DS} THEN {cube.MAX_STAY_DS} ELSE dwell_ds END),
      sum(CASE WHEN attention_ds > {cube.MAX_STAY_DS}
        THEN {cube.MAX_STAY_DS} ELSE attention_ds END)
    FROM {table.NAME} WHERE site_id = %s AND day >= %s
    GROUP BY day, hour, cell ORDER BY day, hour
"""  # noqa: S608 (only the values come from outside)


class Command(BaseCommand):
    help = "Make the roll-ups again from the interactions; stop the ingest workers before."

    def handle(self, *_: Any, **__: Any) -> None:
        for site in Site.objects.order_by("id"):
            with transaction.atomic():
                rows = _rebuild(site.pk)
            self.stdout.write(f"{site}: {rows} rows")


def _rebuild(site: int) -> int:
    """Replace one site's rows from the first whole month on whose interactions are kept.

    Older rows stay: their interactions were forgotten, and the sums are all that is left.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT min(day) FROM {table.NAME} WHERE site_id = %s",  # noqa: S608
            [site],
        )
        (first,) = cursor.fetchone()
        if first is None:
            return 0
        first = day_of(first)
        held = Cube.objects.filter(site=site)
        older = held.filter(grain=Grain.DAY, day__lt=first).exists()
        first = cube.next_month(first) if older else first.replace(day=1)
        cursor.execute(_SUMS, [site, first])
        made: dict[cube.Key, cube.Hours] = {}
        for (day, hour), cells in groupby(_read(cursor), key=lambda row: row[:2]):
            sums = {row[2]: [int(value) for value in row[3:]] for row in cells}
            cube.spread(made, site, day_of(day), hour, sums)
    held.filter(day__gte=first).delete()
    cube.write(made)
    return len(made)


def _read(cursor: Any) -> Iterator[tuple[Any, ...]]:
    while part := cursor.fetchmany(10_000):
        yield from part
