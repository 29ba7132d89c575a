"""`python -m flow adopt FOLDER`: bring a demo's visitors onto the overview page.

The folder is what `make demo` makes: the hub, or its capture when it has ended, the certificates
that were issued, and the recipient's key. Every demo's sensor is a new one under the same name, so
what an earlier demo left here goes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

from flow.ingest import table
from flow.models import Customer, Sensor, Site

SITE = "laboratory"


class Command(BaseCommand):
    help = "Register a demo's sensor at a site and store what its hub captured."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--customer", default="Nordlys (demo)")
        parser.add_argument("--hub", action="store_true", help="it still runs: read from it")

    def handle(self, *_: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        customer = Customer.objects.filter(name=options["customer"]).first()
        if customer is None:
            raise CommandError("run `python -m flow setup --demo` first")
        keys = sorted((folder / "recipient").glob("*.key"))
        hub = folder / "hub"
        capture = hub / "capture.jsonl"
        if not keys or not capture.exists():
            raise CommandError(f"{folder} holds no demo; run `make demo` first")
        with transaction.atomic():
            _forget(customer)
            Site.objects.create(
                customer=customer, slug=SITE, name="Laboratory", hours=[[0, 24]] * 7
            )
        issued = folder / "authority" / "issued"
        call_command("sensors", issued, customer=customer.name, site=SITE, stdout=self.stdout)
        os.environ["FLOW_RECIPIENT_KEYS"] = " ".join(map(str, keys))
        where = {"local_hub": hub, "drain": True} if options["hub"] else {"capture": capture}
        call_command("ingest", **where, again=True, stdout=self.stdout)
        self.stdout.write(f"flow: the demo's visitors are at /?site={SITE}")


def _forget(customer: Customer) -> None:
    """Take out an earlier demo's site with all that it counted."""
    found = Site.objects.filter(customer=customer, slug=SITE)
    with connection.cursor() as cursor:
        for site in found:
            cursor.execute(f"DELETE FROM {table.NAME} WHERE site_id = %s", [site.pk])  # noqa: S608
    Sensor.objects.filter(site__in=found).delete()
    found.delete()
