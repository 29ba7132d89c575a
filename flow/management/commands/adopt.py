"""`python -m flow adopt STATE`: show what a local hub has taken, without further ado.

Registers every device of the hub at one site, then stores what it captured. It is how a demo's
visitors come onto the overview page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from flow.models import Customer, Site


class Command(BaseCommand):
    help = "Register a local hub's devices at a site and store what the hub captured."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("state", type=Path, help="the local hub's folder")
        parser.add_argument("--certificates", type=Path, required=True, help="folder of PEM files")
        parser.add_argument("--customer", default="Nordlys (demo)")
        parser.add_argument("--site", default="Laboratory")

    def handle(self, *_: Any, **options: Any) -> None:
        customer = Customer.objects.filter(name=options["customer"]).first()
        if customer is None:
            raise CommandError("run `python -m flow setup --demo` first")
        name = options["site"]
        site, _new = Site.objects.get_or_create(
            customer=customer,
            slug=name.lower().replace(" ", "-"),
            defaults={"name": name, "hours": [[0, 24]] * 7},
        )
        call_command(
            "sensors", options["certificates"], customer=customer.name, site=site.slug,
            stdout=self.stdout,
        )  # fmt: skip
        call_command("ingest", capture=options["state"] / "capture.jsonl", stdout=self.stdout)
        self.stdout.write(f"flow: look at {reverse('overview')}?site={site.slug}")
