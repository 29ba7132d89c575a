"""What the sensors of a site really run, as they said it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timezone

from flow.models import Site


@dataclass(frozen=True)
class Facts:
    """Of all sensors in service at a site, the most that any of them does.

    Attributes:
        attributes: which of gender, age and expression are estimated; empty when visitors are
            only counted. proven: date of the newest passed wipe self-test, where every sensor's
            last one passed.
    """

    sensors: int
    attributes: tuple[str, ...]
    firmware: tuple[str, ...]
    models: tuple[str, ...]
    rounded_s: int
    proven: date | None


def of(site: Site) -> Facts:
    """Look at the newest health record and reported twin of each sensor.

    A sensor that has not said what it does is taken to do everything: a notice may promise too
    little, never too much.
    """
    attributes: set[str] = set()
    rounded = 60
    proofs: list[date | None] = []
    sensors = list(site.sensors.filter(retired=False))
    for sensor in sensors:
        said = sensor.reported.get("capabilities", {})
        if said.get("mode", "attributes") != "count":
            attributes |= {"gender", "age"}
            # Outside of shops the sensor refuses to estimate expressions at all.
            if said.get("expression", True) and said.get("context", "retail") == "retail":
                attributes.add("expression")
        rounded = min(rounded, int(sensor.reported.get("time_rounding_s", 60)))
        passed = sensor.health.get("selftest") == "passed"
        at_s = int(sensor.health.get("selftest_at_utc_s", 0))
        proofs.append(
            datetime.fromtimestamp(at_s, timezone.utc).date() if passed and at_s else None
        )
    dates = [proof for proof in proofs if proof]
    return Facts(
        len(sensors),
        tuple(name for name in ("gender", "age", "expression") if name in attributes),
        tuple(sorted({str(s.health["firmware"]) for s in sensors if s.health.get("firmware")})),
        tuple(sorted({sensor.model_set for sensor in sensors if sensor.model_set})),
        rounded,
        min(dates) if dates and len(dates) == len(proofs) else None,
    )
