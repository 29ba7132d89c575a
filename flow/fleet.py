"""What a sensor's last word means: alarms, worst first, and its health in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flow.models import Sensor

OFFLINE = timedelta(minutes=20)
"""Four missed health reports."""
HOT_C = 80
SLOW_X10 = 50
QUEUE = 2_000
CERTIFICATE_DAYS = 30


@dataclass(frozen=True)
class Alarm:
    """`severity`: 3 a promise may be broken or nothing is counted, 2 counting suffers, 1 soon."""

    severity: int
    title: str
    advice: str


@dataclass(frozen=True)
class Condition:
    alarms: tuple[Alarm, ...]

    @property
    def severity(self) -> int:
        return max((alarm.severity for alarm in self.alarms), default=0)


def condition(sensor: Sensor, now: datetime) -> Condition:
    """The alarms of one sensor."""
    if sensor.retired:
        return Condition(())
    found = list(_presence(sensor, now))
    health = sensor.health
    opens, closes = sensor.site.hours[now.astimezone(sensor.site.zone).weekday()]
    open_now = opens <= now.astimezone(sensor.site.zone).hour < closes
    checks = [
        (
            3,
            health.get("selftest") == "failed" or bool(health.get("guarantees_missing")),
            "Wipe self-test failed",
            "Take the sensor out of service and send it in: a privacy promise may not hold.",
        ),
        (
            3,
            "frames_per_s_x10" in health and health["frames_per_s_x10"] == 0,
            "Camera dark or gone",
            "Look whether the cable is in and the lens free.",
        ),
        (
            2,
            0 < health.get("frames_per_s_x10", 0) < SLOW_X10,
            "Low frame rate",
            "Quick visitors are missed; look at its temperature and its light.",
        ),
        (
            2,
            open_now and bool(health.get("view_blocked")),
            "View blocked",
            "Something hangs or stands in front of the lens.",
        ),
        (
            2,
            (health.get("temperature_c") or 0) >= HOT_C or health.get("throttled_percent", 0) > 0,
            "Too hot",
            "Give it air: it slows down to protect itself.",
        ),
        (
            2,
            health.get("waiting", 0) >= QUEUE or health.get("dropped", 0) > 0,
            "Queue growing",
            "Its network is slow or blocked; the oldest records are dropped when it is full.",
        ),
        (
            2,
            (sensor.reported.get("update") or {}).get("state") == "refused",
            "Update refused",
            f"It runs on with its old software ({sensor.update}).",
        ),
        (
            1,
            health.get("clock_synchronised") is False,
            "Clock not synchronised",
            "Let it reach a time server; until then hours are unsure.",
        ),
        (
            1,
            0 < health.get("certificate_days", 0) <= CERTIFICATE_DAYS,
            "Certificate ends soon",
            "It renews by itself; look again tomorrow.",
        ),
    ]
    found += [Alarm(level, title, advice) for level, wrong, title, advice in checks if wrong]
    return Condition(tuple(sorted(found, key=lambda alarm: -alarm.severity)))


def _presence(sensor: Sensor, now: datetime) -> list[Alarm]:
    if sensor.last_seen is None:
        return [Alarm(2, "Never seen", "Start it, and look whether its network lets it out.")]
    if now - sensor.last_seen > OFFLINE:
        advice = "Look at its power and network; what it counts meanwhile comes later."
        return [Alarm(3, "Offline", advice)]
    return []


WORDS: dict[str, tuple[str, float, str]] = {
    "firmware": ("Software", 0, ""),
    "frames_per_s_x10": ("Frames a second", 10, ""),
    "frame_ms_p95_x10": ("Time for a frame, 95 of 100", 10, "ms"),
    "temperature_c": ("Temperature", 1, "°C"),
    "throttled_percent": ("Slowed down by heat", 1, "%"),
    "selftest": ("Wipe self-test", 0, ""),
    "selftest_hits": ("Traces that it found", 1, ""),
    "wipe_ms_p95_x10": ("Time for a wipe, 95 of 100", 10, "ms"),
    "guarantees_missing": ("Guarantees that do not hold", 0, ""),
    "waiting": ("Records waiting", 1, ""),
    "delivered": ("Records delivered", 1, ""),
    "dropped": ("Records dropped", 1, ""),
    "reconnects": ("Connections made again", 1, ""),
    "clock_synchronised": ("Clock synchronised", 0, ""),
    "certificate_days": ("Certificate is valid for", 1, "days"),
    "uptime_s": ("Running for", 3600, "hours"),
}
"""Field of a health record → what it is called, divisor (0: a word), unit; in the order shown."""


def said(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A flat or nested record as (name, value) in words; unknown fields as they are, at the end."""
    for key, (title, divisor, unit) in WORDS.items():
        if record.get(key) is not None:
            yield title, f"{_word(record[key], divisor)} {unit}".strip()
    for key, value in sorted(record.items()):
        if key in WORDS or value in (None, {}, []):
            continue
        if isinstance(value, dict):
            yield from ((f"{key}, {name}".replace("_", " "), words) for name, words in said(value))
        else:
            yield key.replace("_", " "), _word(value, 0)


def _word(value: Any, divisor: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if divisor and isinstance(value, int | float):
        return f"{value / divisor:,.1f}" if divisor > 1 else f"{value:,}"
    return str(value)
