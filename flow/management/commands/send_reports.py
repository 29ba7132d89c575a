"""`python -m flow send_reports`: send what is due; run it every morning (a cron job)."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from django.core.mail import EmailMessage
from django.core.management.base import BaseCommand
from django.db import transaction

from flow import audit
from flow.figures.question import ask
from flow.figures.report import choices, report
from flow.models import Schedule, User
from flow.reports.forms import FORMS
from flow.web.reports import next_day


class Command(BaseCommand):
    help = "Send the scheduled reports that are due."

    def handle(self, *_: Any, **__: Any) -> None:
        today = date.today()
        due = Schedule.objects.filter(next_on__lte=today).values_list("pk", flat=True)
        for number in list(due):
            with transaction.atomic():
                # A second run at the same time finds the schedule moved on, and sends nothing.
                schedule = Schedule.objects.select_for_update().get(pk=number)
                if schedule.next_on > today:
                    continue
                schedule.next_on = next_day(schedule.every, today)
                schedule.save(update_fields=["next_on"])
                people = list(schedule.recipients.filter(is_active=True))
            sent = sum(self._send(schedule, person) for person in people)
            self.stdout.write(f"{schedule.report}: sent to {sent}")

    def _send(self, schedule: Schedule, person: User) -> bool:
        """Each person gets the figures of the sites that this person may see."""
        sites = list(person.visible_sites())
        if person.customer_id != schedule.report.customer_id or not sites:
            return False
        query = dict(parse_qsl(schedule.report.query))
        answer = report(ask(query, sites), *choices(query))
        write, kind = FORMS[schedule.form]
        mail = EmailMessage(
            f"FLOW: {schedule.report.name}",
            f"{schedule.report.name}, {answer.question.period.text()}.\n",
            to=[person.email],
        )
        mail.attach(f"report.{schedule.form}", write(answer), kind.split(";")[0])
        mail.send()
        audit.write(
            None,
            "report_sent",
            f"{schedule.report.name} to {person.email}",
            user=schedule.report.owner,
        )
        return True
