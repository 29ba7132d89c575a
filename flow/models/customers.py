"""Who owns what: a customer has sites, a site has sensors."""

from __future__ import annotations

import secrets
import zoneinfo
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

NO_HOURS: list[list[int]] = [[8, 20]] * 6 + [[0, 0]]
"""Opening hours of a new site: Monday to Saturday from 8 to 20."""


def default_hours() -> list[list[int]]:
    return [list(day) for day in NO_HOURS]


def public_code() -> str:
    return secrets.token_urlsafe(9).replace("_", "a").replace("-", "b")


def check_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError("No time zone of that name; Europe/Oslo is one.")


def check_hours(hours: Any) -> None:
    """Seven pairs of whole hours, Monday first; [0, 0] is a closed day."""
    good = isinstance(hours, list) and len(hours) == 7
    for day in hours if good else []:
        good = good and isinstance(day, list) and len(day) == 2
        good = good and all(type(hour) is int and 0 <= hour <= 24 for hour in day)
        good = good and day[0] <= day[1]
    if not good:
        raise ValidationError("Give opening and closing hour for each of the seven days.")


class Customer(models.Model):
    """A company. Nothing of one customer is ever shown to another's users."""

    class SecondFactor(models.TextChoices):
        NOBODY = "nobody", "nobody has to"
        ADMINISTRATORS = "administrators", "administrators must"
        EVERYONE = "everyone", "everyone must"

    name = models.CharField(max_length=100, unique=True)
    contact = models.EmailField(blank=True, help_text="Answers visitors' questions; on the sign.")
    second_factor = models.CharField(
        max_length=16, choices=SecondFactor, default=SecondFactor.ADMINISTRATORS
    )

    def __str__(self) -> str:
        return self.name


class Site(models.Model):
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="sites")
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60)
    public = models.CharField(max_length=24, unique=True, default=public_code, editable=False)
    time_zone = models.CharField(max_length=40, default="Europe/Oslo", validators=[check_zone])
    hours = models.JSONField(default=default_hours, validators=[check_hours])
    floor_m2 = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(1_000_000)]
    )
    staff = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(100_000)]
    )

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["customer", "slug"], name="site_slug")]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.time_zone)

    def is_open(self, weekday: int, hour: int) -> bool:
        """Whether the site is open during `hour` (0–23) of a weekday (0 is Monday)."""
        opens, closes = self.hours[weekday]
        return bool(opens <= hour < closes)


class Sensor(models.Model):
    """A device that may send. Its name is the registration id, the certificate's CN.

    Attributes:
        certificates: PEM of each certificate that was issued to it, the newest first; its
            records must be signed with the key of one of them.
        health: body of the newest health record.
        desired, reported: the twin as last seen; `desired` is what an administrator asked for.
    """

    device = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=100)
    site = models.ForeignKey(Site, models.PROTECT, related_name="sensors")
    certificates = models.TextField()
    added_at = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField(null=True)
    health = models.JSONField(default=dict)
    health_at = models.DateTimeField(null=True)
    model_set = models.CharField(max_length=8, blank=True)
    desired = models.JSONField(default=dict)
    reported = models.JSONField(default=dict)
    retired = models.BooleanField(default=False)

    class Meta:
        ordering = ["site__name", "name"]

    @property
    def software(self) -> str:
        """Version of its image, or of its firmware where it has no images; "" when not known."""
        return str(self.reported.get("image") or self.health.get("firmware") or "")[:30]

    @property
    def update(self) -> str:
        """How far its last update is, in words; "" for none. From the reported twin:
        {"state": "downloading", "version": "1.4.0", "percent": 40, "error": ""}."""
        said = self.reported.get("update")
        if not isinstance(said, dict) or not said.get("state"):
            return ""
        words = f"{said['state']} {said.get('version', '')}".strip()
        if said["state"] == "downloading":
            words += f", {said.get('percent', 0)} %"
        if said.get("error"):
            words += f": {said['error']}"
        return words[:120]

    def __str__(self) -> str:
        return self.name
