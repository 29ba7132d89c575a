"""What was received. Interactions themselves live in `flow.ingest.table`, partitioned by day."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from flow.models.customers import Sensor, Site

NUMBERS_PER_BLOCK = 1024


class NumberBlock(models.Model):
    """Which of 1,024 consecutive numbers of a sensor are stored.

    This is what makes storing exactly-once, whatever day a record claims.

    Attributes:
        prints: 1,024 little-endian u16: 0 for a number that is not stored, else a fingerprint of
            the record, so that another record under the same number is noticed.
    """

    pk = models.CompositePrimaryKey("sensor_id", "block")
    sensor = models.ForeignKey(Sensor, models.CASCADE, db_index=False)
    block = models.BigIntegerField()
    prints = models.BinaryField()


class Checkpoint(models.Model):
    """How far a source without a checkpoint store of its own was read."""

    source = models.CharField(max_length=200, primary_key=True)
    position = models.BigIntegerField()


class SensorDay(models.Model):
    """One sensor on one local day.

    Attributes:
        first, last: lowest and highest number that came in that day.
        alive: bit h is set when the sensor gave any sign of life in local hour h.
    """

    pk = models.CompositePrimaryKey("sensor_id", "day")
    sensor = models.ForeignKey(Sensor, models.CASCADE)
    day = models.DateField()
    site = models.ForeignKey(Site, models.CASCADE)
    records = models.IntegerField(default=0)
    first = models.BigIntegerField(null=True)
    last = models.BigIntegerField(null=True)
    unsynchronised = models.IntegerField(default=0)
    alive = models.IntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["site", "day"])]


class Cube(models.Model):
    """Sums of one site for one local day or month, split by gender × age × expression.

    Attributes:
        grain: how long the stretch is, and whether its entries tell the hours apart
            (`flow.figures.cube.Grain`).
        day: the day, or the first day of the month.
        cells: packed entries (`flow.figures.cube.ENTRY`).
    """

    pk = models.CompositePrimaryKey("site_id", "grain", "day")
    site = models.ForeignKey(Site, models.CASCADE, db_index=False)
    grain = models.SmallIntegerField()
    day = models.DateField()
    cells = models.BinaryField()


class HealthReport(models.Model):
    """A health record as it came; kept for some weeks."""

    pk = models.CompositePrimaryKey("sensor_id", "number")
    sensor = models.ForeignKey(Sensor, models.CASCADE)
    number = models.BigIntegerField()
    at = models.DateTimeField()
    body = models.JSONField()


class Quarantined(models.Model):
    """Something that was received and could not be opened or believed."""

    at = models.DateTimeField(default=timezone.now)
    device = models.CharField(max_length=128, blank=True, db_index=True)
    reason = models.CharField(max_length=300)
    body = models.BinaryField()
    digest = models.CharField(max_length=64, unique=True)
    """SHA-256 of reason and body: a replay of the same bytes is not stored again."""

    class Meta:
        ordering = ["-at"]
