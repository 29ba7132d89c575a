"""The public notice: what the sensors of a site do, in plain words, for whoever walks past."""

from __future__ import annotations

import io

import segno
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import get_language_from_request

from flow.models import Site
from flow.notice import facts
from flow.notice.words import LANGUAGES, words


def page(request: HttpRequest, public: str, language: str = "") -> HttpResponse:
    return _render(request, public, language, "flow/notice.html")


def sign(request: HttpRequest, public: str, language: str) -> HttpResponse:
    """The sign to print and hang beside the sensor."""
    return _render(request, public, language, "flow/sign.html")


def _render(request: HttpRequest, public: str, language: str, template: str) -> HttpResponse:
    site = get_object_or_404(Site.objects.select_related("customer"), public=public)
    if not language:
        asked = get_language_from_request(request)[:2].replace("no", "nb")
        language = asked if asked in LANGUAGES else "en"
    if language not in LANGUAGES:
        raise Http404
    address = settings.BASE_URL + reverse("notice", args=[public])
    context = {
        "site": site,
        "facts": facts.of(site),
        "words": words(language),
        "language": language,
        "languages": LANGUAGES,
        "address": address,
        "qr": _qr(address),
    }
    response = render(request, template, context)
    response["Cache-Control"] = "public, max-age=300"
    return response


def _qr(address: str) -> str:
    out = io.BytesIO()
    segno.make(address, error="m").save(
        out,
        kind="svg",
        xmldecl=False,
        svgns=False,
        omitsize=True,
        svgclass="qr",
        lineclass=None,
        border=2,
    )
    return out.getvalue().decode()
