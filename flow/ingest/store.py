"""Storing exactly once: numbers, interactions, roll-ups and quarantine in one transaction.

The order of locks is the same for every worker (sensors by id, then sites by id), so workers
wait for each other but never for ever. The hub's checkpoint is written after the commit: a
crash in between only means that the same messages come again, and their numbers are known.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import msgspec
import numpy as np
from django.db import connection, transaction

from firmware.record import HealthBody, Interaction
from flow.figures import cube
from flow.ingest import presence, rows, table
from flow.ingest.moments import believed, local
from flow.models import Quarantined, Sensor
from flow.models.records import NUMBERS_PER_BLOCK

_CONFIDENCE = {"none": 0, "low": 1, "medium": 2, "high": 3}


@dataclass(frozen=True)
class Arrived:
    """One opened and verified record.

    Attributes:
        enqueued_utc_s: when the hub took it.
        print: fingerprint of what was signed, 1 to 65535.
    """

    device: str
    number: int
    enqueued_utc_s: int
    record: Interaction | HealthBody
    print: int


@dataclass(frozen=True)
class Rejected:
    """What could not be opened or believed, with the reason in words."""

    device: str
    reason: str
    body: bytes


@dataclass
class Batch:
    """What one worker read from one partition since its last checkpoint."""

    arrived: list[Arrived] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    new: int = 0
    duplicates: int = 0
    quarantined: int = 0
    health: int = 0


def store(batch: Batch) -> Outcome:
    """Store a batch, all of it or nothing of it. What is stored already is counted and left."""
    devices = {item.device for item in batch.arrived}
    for day in _days(batch.arrived):
        table.prepare([day])
    with transaction.atomic():
        sensors = {
            sensor.device: sensor
            for sensor in Sensor.objects.select_for_update(of=("self",) if _postgres() else ())
            .select_related("site")
            .filter(device__in=devices)
            .order_by("id")
        }
        strangers = [
            Rejected(item.device, "no sensor of this name", msgspec.json.encode(item.record))
            for item in batch.arrived
            if item.device not in sensors
        ]
        known = [item for item in batch.arrived if item.device in sensors]
        interactions = [item for item in known if isinstance(item.record, Interaction)]
        fresh, doubled = _fresh(interactions, sensors)
        stored = [_row(item, sensors[item.device]) for item in fresh]
        if stored:
            table.insert(stored)
            _roll_up(stored)
        health = [item for item in known if not isinstance(item.record, Interaction)]
        presence.keep(stored, health, sensors)
        quarantined = _quarantine([*batch.rejected, *strangers, *doubled])
    duplicates = len(interactions) - len(stored) - len(doubled)
    return Outcome(len(stored), duplicates, quarantined, len(health))


def _postgres() -> bool:
    return connection.vendor == "postgresql"


def _days(arrived: Iterable[Arrived]) -> set[date]:
    """Every day that a record may fall on, in whichever zone its site is."""
    days: set[date] = set()
    for item in arrived:
        if isinstance(item.record, Interaction):
            at, _ = believed(item.record.start_utc_s, item.enqueued_utc_s)
            days.update(local(zone, at)[0] for zone in ("Etc/GMT+12", "Etc/GMT-14"))
    return days


def _row(item: Arrived, sensor: Sensor) -> table.Row:
    record = item.record
    assert isinstance(record, Interaction)
    at, plausible = believed(record.start_utc_s, item.enqueued_utc_s)
    day, hour = local(sensor.site.time_zone, at)
    return table.Row(
        sensor_id=sensor.pk,
        number=item.number,
        site_id=sensor.site_id,
        start_utc_s=at,
        day=day,
        dwell_ds=record.dwell_ms // 100,
        attention_ds=min(record.attention_ms, record.dwell_ms) // 100,
        model_set=int(record.model_set, 16),
        hour=hour,
        cell=cube.cell_of(record.gender.value, record.age.category, record.expression.dominant),
        confidence=_CONFIDENCE[record.gender.confidence]
        | _CONFIDENCE[record.age.confidence] << 2
        | _CONFIDENCE[record.expression.confidence] << 4,
        clock=int(plausible and record.clock_synchronised),
    )


def _fresh(
    interactions: list[Arrived], sensors: dict[str, Sensor]
) -> tuple[list[Arrived], list[Rejected]]:
    """Those whose numbers are not stored yet (they are marked now), and those that contradict."""
    wanted: dict[tuple[int, int], list[Arrived]] = defaultdict(list)
    for item in interactions:
        wanted[sensors[item.device].pk, item.number // NUMBERS_PER_BLOCK].append(item)
    keys = ("sensor_id", "block")
    held = rows.select("flow_numberblock", keys, ("prints",), list(wanted))
    fresh: list[Arrived] = []
    doubled: list[Rejected] = []
    changed = []
    for key, items in wanted.items():
        prints = np.zeros(NUMBERS_PER_BLOCK, "<u2")
        if key in held:
            prints[:] = np.frombuffer(held[key][0], "<u2")
        before = len(fresh)
        for item in items:
            at = item.number % NUMBERS_PER_BLOCK
            if not prints[at]:
                prints[at] = item.print
                fresh.append(item)
            elif prints[at] != item.print:
                doubled.append(_contradiction(item))
        if len(fresh) > before:
            changed.append((*key, prints.tobytes()))
    rows.upsert("flow_numberblock", keys, ("prints",), changed)
    return fresh, doubled


def _contradiction(item: Arrived) -> Rejected:
    return Rejected(
        item.device,
        f"number {item.number} came again with another record: two devices share one identity",
        msgspec.json.encode(item.record),
    )


def _roll_up(stored: Sequence[table.Row]) -> None:
    """Add the rows to the cube, in every grain."""
    hours: dict[tuple[int, date, int], cube.Sums] = defaultdict(dict)
    for row in stored:
        held = hours[row.site_id, row.day, row.hour].setdefault(row.cell, [0, 0, 0])
        held[0] += 1
        held[1] += min(row.dwell_ds, cube.MAX_STAY_DS)
        held[2] += min(row.attention_ds, cube.MAX_STAY_DS)
    more: dict[cube.Key, cube.Hours] = {}
    for (site, day, hour), sums in hours.items():
        cube.spread(more, site, day, hour, sums)
    if _postgres():
        with connection.cursor() as cursor:
            for site in sorted({key[0] for key in more}):
                cursor.execute("SELECT pg_advisory_xact_lock(8, %s)", [site])
    before = rows.select("flow_cube", cube.KEYS, ("cells",), list(more))
    for key, sums_of_row in more.items():
        if key in before:
            cube.add(sums_of_row, cube.decode(before[key][0]))
    cube.write(more)


def _quarantine(rejected: Iterable[Rejected]) -> int:
    found = [
        Quarantined(
            device=item.device[:128],
            reason=item.reason[:300],
            body=item.body,
            digest=hashlib.sha256(item.reason.encode() + item.body).hexdigest(),
        )
        for item in rejected
    ]
    Quarantined.objects.bulk_create(found, ignore_conflicts=True)
    return len(found)
