"""How long pages take against a growing number of interactions, at the server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np
from django.db import connection
from django.test import Client

from flow import demo_data
from flow.demo_data import Shop
from flow.ingest import rows, table
from flow.models import Customer, Role, Sensor, Site, User

SITES = 20
YEARS = 2
OVERVIEWS = [
    "/?period=today",
    "/?period=yesterday",
    "/?period=7d",
    "/?period=28d",
    "/?period=28d&gender=female&age=25-34",
    "/?period=28d&site={site}&hour=16",
    "/?period=month&compare=year",
    "/?period=last-month&expression=happy",
    "/?period=12mo&compare=year",
    "/?period=12mo&site={site}",
    "/?period=year&gender=male",
]
REPORTS = [
    "/reports?period=12mo&compare=year&split=site&per=hour",
    "/reports?period=12mo&compare=year&split=time",
    "/reports?period=12mo&compare=year&split=age&gender=female",
    "/reports?period=12mo&compare=year&split=weekday",
]


def measure(interactions: int) -> dict[str, Any]:
    """Fill step by step, and ask after each step."""
    customer = Customer.objects.create(name="Large", second_factor="nobody")
    boss = User.objects.create_user(
        "large@example.com", None, customer=customer, role=Role.ADMINISTRATOR
    )
    client = Client()
    client.force_login(boss)
    steps = []
    sites = _sites(customer, interactions)
    today = date.today()
    first = today - timedelta(365 * YEARS - 1)
    done = 0
    for share, (site, shop) in enumerate(sites):
        done += _fill(site, shop, first, today) if share == 0 else _copy(sites[0][0], site)
        if share + 1 in (1, 2, 5, 10, SITES):
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE flow_cube, flow_sensorday")
            print(f"asking at {share + 1} sites, {done:,} interactions", flush=True)
            figures = _ask(client, [site.slug for site, _ in sites[: share + 1]])
            steps.append({"rows": done, "sites": share + 1, **figures})
            print(steps[-1], flush=True)
    return {"steps": steps, "plans": _plans([site.pk for site, _ in sites], first, today)}


def _sites(customer: Customer, interactions: int) -> list[tuple[Site, Shop]]:
    busy = interactions / SITES / (365 * YEARS)
    found = []
    for at in range(SITES):
        base = demo_data.SHOPS[at % 3]
        shop = Shop(
            f"Shop {at}", f"shop-{at}", base.zone, ((8, 20),) * 7, 300, 8, round(busy * 0.9),
            base.women, base.young, base.peak, ("A", "B"),
        )  # fmt: skip
        site = Site.objects.create(
            customer=customer, name=shop.name, slug=shop.slug, hours=[[8, 20]] * 7
        )
        for name in shop.sensors:
            Sensor.objects.create(
                device=f"{shop.slug}-{name}", name=name, site=site, certificates=""
            )
        found.append((site, shop))
    return found


def _fill(site: Site, shop: Shop, first: date, last: date) -> int:
    """Roll-ups by the demo's generator; single rows expanded from them inside the database."""
    random = np.random.default_rng(1)
    sensors = list(site.sensors.values_list("pk", flat=True))
    days = [first + timedelta(at) for at in range((last - first).days + 1)]
    table.prepare(days)
    drawn = [(day, demo_data.day_of_visits(shop, day, random)) for day in days]
    demo_data.roll_up(site.pk, drawn)
    total = 0
    presence = []
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE drawn (day date, hour int, cell int, many int)")
        with cursor.copy("COPY drawn FROM STDIN") as copy:
            for day, hours in drawn:
                count = 0
                for hour, sums in hours.items():
                    for cell, (many, _, _) in sums.items():
                        copy.write_row((day, hour, cell, many))
                        count += many
                half = count // len(sensors)
                first_number, last_number = total + 1, total + half
                presence += [
                    (pk, day, site.pk, half, first_number, last_number, 0, 0xFFFFF)
                    for pk in sensors
                ]
                total += count
        cursor.execute(
            f"INSERT INTO {table.NAME} SELECT (%s::bigint[])[1 + n %% 2], n, %s, "  # noqa: S608
            "extract(epoch FROM day) + hour * 3600, day, 80, 30, 0, hour, cell, 21, 1 FROM "
            "(SELECT day, hour, cell, row_number() OVER () AS n "
            "FROM drawn, generate_series(1, many)) visits",
            [sensors, site.pk],
        )
        cursor.execute("DROP TABLE drawn")
    columns = ("site_id", "records", "first", "last", "unsynchronised", "alive")
    rows.upsert("flow_sensorday", ("sensor_id", "day"), columns, presence)
    return total


def _copy(source: Site, site: Site) -> int:
    """The same visits again at another site: what matters here is how many rows there are."""
    old, new = (sorted(one.sensors.values_list("pk", flat=True)) for one in (source, site))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO flow_cube (site_id, grain, day, cells) "
            "SELECT %s, grain, day, cells FROM flow_cube WHERE site_id = %s",
            [site.pk, source.pk],
        )
        for before, after in zip(old, new, strict=True):
            cursor.execute(
                "INSERT INTO flow_sensorday (sensor_id, day, records, first, last, "
                "unsynchronised, alive, site_id) SELECT %s, day, records, first, last, "
                "unsynchronised, alive, %s FROM flow_sensorday WHERE sensor_id = %s",
                [after, site.pk, before],
            )
            cursor.execute(
                f"INSERT INTO {table.NAME} SELECT %s, number, %s, start_utc_s, day, "  # noqa: S608
                "dwell_ds, attention_ds, model_set, hour, cell, confidence, clock "
                f"FROM {table.NAME} WHERE sensor_id = %s",
                [after, site.pk, before],
            )
        cursor.execute(f"SELECT count(*) FROM {table.NAME} WHERE site_id = %s", [site.pk])  # noqa: S608
        return int(cursor.fetchone()[0])


def _ask(client: Client, slugs: list[str]) -> dict[str, Any]:
    kinds: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    for turn in range(12):
        for path in (*OVERVIEWS, *REPORTS):
            began, worked = time.perf_counter(), time.process_time()
            answer = client.get(path.format(site=slugs[turn % len(slugs)]))
            spent = 1000 * (time.perf_counter() - began)
            assert answer.status_code == 200
            if turn > 1:  # the first turns warm up caches and plans
                kinds.setdefault(path, []).append(spent)
                busy.setdefault(path, []).append(1000 * (time.process_time() - worked))
    overview = [ms for path in OVERVIEWS for ms in kinds[path]]
    report = [ms for path in REPORTS for ms in kinds[path]]
    return {
        "overview_p50_ms": round(float(np.percentile(overview, 50)), 1),
        "overview_p95_ms": round(float(np.percentile(overview, 95)), 1),
        "report_p50_ms": round(float(np.percentile(report, 50)), 1),
        "report_p95_ms": round(float(np.percentile(report, 95)), 1),
        "python_cpu_p95_ms": round(float(np.percentile([*busy.values()], 95)), 1),
        "load_average": round(os.getloadavg()[0], 1),
        "by_page_ms": {path: round(float(np.median(ms)), 1) for path, ms in kinds.items()},
        "by_page_cpu_ms": {path: round(float(np.median(ms)), 1) for path, ms in busy.items()},
    }


def _plans(sites: list[int], first: date, last: date) -> dict[str, str]:
    return dict(_explained(sites, first, last))


def _explained(sites: list[int], first: date, last: date) -> Iterator[tuple[str, str]]:
    marks = ",".join(["%s"] * len(sites))
    for name, grain, start in (
        ("28 days by hour", 0, last - timedelta(27)),
        ("28 days by hour, everybody", 4, last - timedelta(27)),
        ("92 days by day", 1, last - timedelta(91)),
        ("a year by month and hour", 2, last - timedelta(365)),
        ("a year by month", 3, last - timedelta(365)),
        ("a year by day", 1, last - timedelta(365)),
    ):
        with connection.cursor() as cursor:
            cursor.execute(
                "EXPLAIN (ANALYZE, BUFFERS) SELECT site_id, day, cells FROM flow_cube "  # noqa: S608
                f"WHERE grain = %s AND day BETWEEN %s AND %s AND site_id IN ({marks})",
                [grain, start, last, *sites],
            )
            yield name, "\n".join(row[0] for row in cursor.fetchall())
