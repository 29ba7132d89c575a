"""`python -m flow adopt FOLDER`: bring a demo's visitors onto the overview page.

The folder is what `make demo` leaves behind: the hub's capture, the certificates that were issued,
and the recipient's key.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from flow.models import Customer, Site

SITE = "laboratory"


class Command(BaseCommand):
    help = "Register a demo's sensor at a site and store what its hub captured."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--customer", default="Nordlys (demo)")

    def handle(self, *_: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        customer = Customer.objects.filter(name=options["customer"]).first()
        if customer is None:
            raise CommandError("run `python -m flow setup --demo` first")
        keys = sorted((folder / "recipient").glob("*.key"))
        capture = folder / "hub" / "capture.jsonl"
        if not keys or not capture.exists():
            raise CommandError(f"{folder} holds no demo; run `make demo` first")
        Site.objects.get_or_create(
            customer=customer,
            slug=SITE,
            defaults={"name": "Laboratory", "hours": [[0, 24]] * 7},
        )
        issued = folder / "authority" / "issued"
        call_command("sensors", issued, customer=customer.name, site=SITE, stdout=self.stdout)
        os.environ["FLOW_RECIPIENT_KEYS"] = " ".join(map(str, keys))
        call_command("ingest", capture=capture, stdout=self.stdout)
        self.stdout.write(f"flow: the demo's visitors are at /?site={SITE}")
