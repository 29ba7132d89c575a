"""Signs of life: what each sensor sent on which day, and its latest health."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

from flow.ingest import rows, table
from flow.ingest.moments import believed, local
from flow.models import HealthReport, Sensor

if TYPE_CHECKING:
    from flow.ingest.store import Arrived


def keep(
    stored: Sequence[table.Row], health: Sequence[Arrived], sensors: dict[str, Sensor]
) -> None:
    """Keep each sensor's days and its latest word."""
    days: dict[tuple[int, date], list[Any]] = {}

    def on(sensor_id: int, site_id: int, day: date) -> list[Any]:
        return days.setdefault((sensor_id, day), [site_id, 0, None, None, 0, 0])

    for row in stored:
        held = on(row.sensor_id, row.site_id, row.day)
        held[1] += 1
        held[2] = row.number if held[2] is None else min(held[2], row.number)
        held[3] = row.number if held[3] is None else max(held[3], row.number)
        held[4] += not row.clock
        held[5] |= 1 << row.hour
    seen: dict[int, int] = {}
    for item in health:
        body = item.record
        assert isinstance(body, dict)
        sensor = sensors[item.device]
        claimed = body.get("at_utc_s") if body.get("clock_synchronised", True) else None
        at = item.enqueued_utc_s
        if isinstance(claimed, int):
            at, _ = believed(claimed, at)
        day, hour = local(sensor.site.time_zone, at)
        on(sensor.pk, sensor.site_id, day)[5] |= 1 << hour
        moment = datetime.fromtimestamp(at, timezone.utc)
        if sensor.health_at is None or moment >= sensor.health_at:
            sensor.health, sensor.health_at = body, moment
            sensor.model_set = str(body.get("model_set", ""))[:8]
    HealthReport.objects.bulk_create(
        [
            HealthReport(
                sensor=sensors[item.device],
                number=item.number,
                at=datetime.fromtimestamp(item.enqueued_utc_s, timezone.utc),
                body=item.record,
            )
            for item in health
        ],
        ignore_conflicts=True,
    )
    for row in stored:
        seen[row.sensor_id] = max(seen.get(row.sensor_id, 0), row.start_utc_s)
    _upsert_days(days)
    for sensor in sensors.values():
        _remember(sensor, seen.get(sensor.pk, 0))


def _remember(sensor: Sensor, start_utc_s: int) -> None:
    latest = datetime.fromtimestamp(start_utc_s, timezone.utc) if start_utc_s else None
    moments = [moment for moment in (sensor.last_seen, sensor.health_at, latest) if moment]
    if moments:
        sensor.last_seen = max(moments)
        sensor.save(update_fields=["last_seen", "health", "health_at", "model_set"])


def _upsert_days(days: dict[tuple[int, date], list[Any]]) -> None:
    held = rows.select(
        "flow_sensorday",
        ("sensor_id", "day"),
        ("site_id", "records", "first", "last", "unsynchronised", "alive"),
        list(days),
    )
    changed = []
    for key, (site, records, first, last, unsynchronised, alive) in days.items():
        had = held.get(key, (site, 0, None, None, 0, 0))
        numbers = [n for n in (had[2], had[3], first, last) if n is not None]
        changed.append(
            (
                *key,
                site,
                had[1] + records,
                min(numbers, default=None),
                max(numbers, default=None),
                had[4] + unsynchronised,
                had[5] | alive,
            )
        )
    rows.upsert(
        "flow_sensorday",
        ("sensor_id", "day"),
        ("site_id", "records", "first", "last", "unsynchronised", "alive"),
        changed,
    )
