"""The audit log, for administrators."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from flow.access import requires, user_of
from flow.models import AuditEntry, Role


@requires(Role.ADMINISTRATOR)
def page(request: HttpRequest) -> HttpResponse:
    entries = AuditEntry.objects.filter(customer=user_of(request).customer_id)
    shown = Paginator(entries, 50).get_page(request.GET.get("page"))
    return render(request, "flow/audit.html", {"entries": shown})
