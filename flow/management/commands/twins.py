"""`python -m flow twins`: read what the sensors report about their settings, every few minutes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from firmware.errors import UplinkError
from flow import twin
from flow.models import Sensor


class Command(BaseCommand):
    help = "Read the twin of every sensor: settings applied, versions, update state."

    def handle(self, *_: Any, **__: Any) -> None:
        for sensor in Sensor.objects.filter(retired=False):
            try:
                found = twin.read(sensor.device)
            except UplinkError as error:
                self.stderr.write(f"{sensor.device}: {error.problem}")
                continue
            Sensor.objects.filter(pk=sensor.pk).update(
                reported=_plain(found.get("reported", {})), desired=_plain(found.get("desired", {}))
            )


def _plain(tree: dict[str, Any]) -> dict[str, Any]:
    """Without the hub's own `$version` and `$metadata`."""
    return {key: value for key, value in tree.items() if not key.startswith("$")}
