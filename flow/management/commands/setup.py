"""`python -m flow setup`: a customer and its first administrator, printed once."""

from __future__ import annotations

import secrets
import time
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from flow import demo_data
from flow.models import Customer, Role, User


class Command(BaseCommand):
    stealth_options = ("password",)  # by a caller in this process, never on a command line
    help = "Make the tables, a customer and its first administrator (does nothing twice)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--customer", default="Nordlys (demo)")
        parser.add_argument("--email", default="admin@example.com")
        parser.add_argument("--demo", action="store_true", help="with made-up visitors")
        parser.add_argument("--days", type=int, default=demo_data.DAYS, help="so many of them")

    def handle(self, *_: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        if Customer.objects.filter(name=options["customer"]).exists():
            self.stdout.write(f"flow: {options['customer']} exists already")
            return
        rule = (
            Customer.SecondFactor.NOBODY
            if options["demo"]
            else Customer.SecondFactor.ADMINISTRATORS
        )
        customer = Customer.objects.create(
            name=options["customer"], contact=options["email"], second_factor=rule
        )
        if options["demo"]:
            start = time.monotonic()
            visits = demo_data.fill(customer, days=options["days"])
            spent = time.monotonic() - start
            self.stdout.write(f"flow: {visits:,} made-up visits at 3 sites in {spent:.1f} s")
        given = options.get("password")
        password = given or secrets.token_urlsafe(12)
        User.objects.create_user(
            options["email"], password, name="Administrator", customer=customer,
            role=Role.ADMINISTRATOR,
        )  # fmt: skip
        if not given:
            self.stdout.write(f"flow: first administrator {options['email']} password {password}")
