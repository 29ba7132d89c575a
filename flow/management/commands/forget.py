"""`python -m flow forget`: drop what is no longer needed; run it every night."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from flow.ingest import table
from flow.models import ApiToken, AuditEntry, HealthReport, Invitation, Quarantined


class Command(BaseCommand):
    help = "Drop old single interactions, health records, quarantine, log entries and secrets."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--interactions", type=int, default=800, metavar="DAYS")
        parser.add_argument("--health", type=int, default=60, metavar="DAYS")
        parser.add_argument("--quarantine", type=int, default=90, metavar="DAYS")
        parser.add_argument("--log", type=int, default=730, metavar="DAYS")

    def handle(self, *_: Any, **options: Any) -> None:
        now = timezone.now()
        parts = table.drop_before(date.today() - timedelta(options["interactions"]))
        gone = {
            "parts": parts,
            "health": HealthReport.objects.filter(
                at__lt=now - timedelta(options["health"])
            ).delete()[0],
            "quarantine": Quarantined.objects.filter(
                at__lt=now - timedelta(options["quarantine"])
            ).delete()[0],
            "log": AuditEntry.objects.filter(at__lt=now - timedelta(options["log"])).delete()[0],
            "invitations": Invitation.objects.filter(expires_at__lt=now).delete()[0],
            "tokens": ApiToken.objects.filter(expires_at__lt=now).delete()[0],
        }
        call_command("clearsessions")
        self.stdout.write(" ".join(f"{name}={count}" for name, count in gone.items()))
