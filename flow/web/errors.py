"""Pages for what went wrong; none of them says more than the visitor may know."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def _page(request: HttpRequest, status: int, title: str, advice: str) -> HttpResponse:
    words = {"title": title, "advice": advice, "status": status}
    return render(request, "flow/error.html", words, status=status)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _page(request, 403, "Not for your role", "Ask an administrator for the permission.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _page(request, 404, "Nothing here", "The address is wrong, or it is not yours to see.")


def broken(request: HttpRequest) -> HttpResponse:
    # Nothing that could be the cause is used here: no database, no session.
    body = "<!doctype html><title>FLOW</title><p>Something broke. It has been logged; try again."
    return HttpResponse(body, status=500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _page(request, 403, "The form is too old", "Go back, reload the page and send it again.")
