"""`python -m flow sensors FOLDER`: take in sensors by their certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from firmware.errors import SealError
from flow.ingest.opening import check_certificates
from flow.models import Sensor, Site


class Command(BaseCommand):
    help = "Register every device certificate in a folder at one site, or renew the known ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--customer", required=True)
        parser.add_argument("--site", required=True, help="the site's short name (slug)")

    def handle(self, *_: Any, **options: Any) -> None:
        site = Site.objects.filter(customer__name=options["customer"], slug=options["site"]).first()
        if site is None:
            raise CommandError("no such site; `setup` makes a customer, the Sites page its sites")
        for path in sorted(options["folder"].rglob("*.pem")):
            pem = path.read_text()
            try:
                device = check_certificates(pem)
            except SealError as error:
                self.stderr.write(f"{path.name}: {error.problem}")
                continue
            sensor, new = Sensor.objects.get_or_create(
                device=device, defaults={"name": device, "site": site, "certificates": pem}
            )
            if not new and pem.strip() not in sensor.certificates:
                # The newest first; the older ones keep records readable that are on their way.
                sensor.certificates = pem.strip() + "\n" + sensor.certificates
                sensor.save(update_fields=["certificates"])
            self.stdout.write(f"{device}: {'added' if new else 'known'}")
