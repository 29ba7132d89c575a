"""Saved reports: a question with a name, asked again whenever it is opened."""

from __future__ import annotations

from django.db import models

from flow.models.customers import Customer
from flow.models.people import User


class Report(models.Model):
    """`query` is the URL's query string: a report is a link with a name."""

    customer = models.ForeignKey(Customer, models.CASCADE)
    owner = models.ForeignKey(User, models.CASCADE, related_name="reports")
    name = models.CharField(max_length=100)
    query = models.CharField(max_length=1000)
    shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Schedule(models.Model):
    """A report sent by e-mail; it shows what its owner may see at that moment."""

    class Every(models.TextChoices):
        DAY = "day", "every day"
        WEEK = "week", "every Monday"
        MONTH = "month", "on the first of the month"

    class Form(models.TextChoices):
        PDF = "pdf", "PDF"
        XLSX = "xlsx", "Excel"
        CSV = "csv", "CSV"

    report = models.ForeignKey(Report, models.CASCADE, related_name="schedules")
    every = models.CharField(max_length=8, choices=Every, default=Every.WEEK)
    form = models.CharField(max_length=8, choices=Form, default=Form.PDF)
    recipients = models.ManyToManyField(User)
    """Only users: what leaves by e-mail goes to people whose rights are known."""
    next_on = models.DateField()
