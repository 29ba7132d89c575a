"""The overview: one page, everything on it answers to the same question."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from flow import charts
from flow.access import requires, user_of
from flow.figures import periods
from flow.figures.overview import Overview, Panel, overview
from flow.figures.question import LABELS, METRICS, TITLES, Question, ask, merged
from flow.models import SensorDay

STRIPS = ("hour", "weekday")
UNITS = {"visitors": "", "dwell": "s", "attention": "s"}


@requires()
def page(request: HttpRequest) -> HttpResponse:
    sites = list(user_of(request).visible_sites())
    if not sites:
        return render(request, "flow/no_sites.html")
    question = ask(merged(request.GET), sites)
    figures = overview(question)
    return render(
        request, "flow/overview.html", {**_controls(question), **_drawn(question, figures)}
    )


@requires()
def pulse(request: HttpRequest) -> HttpResponse:
    """A number that changes when the page would: what the page asks every few seconds."""
    sites = list(user_of(request).visible_sites())
    question = ask(merged(request.GET), sites)
    counted = SensorDay.objects.filter(
        site__in=question.site_ids, day__range=(question.period.first, question.period.last)
    ).values_list("records", "alive")
    return JsonResponse({"version": sum(records for records, _ in counted)})


def _controls(question: Question) -> dict[str, Any]:
    """Menus: each entry is a link, so they work without script and can be bookmarked."""
    return {
        "question": question,
        "presets": [
            (name, title, question.link(period=name, **{"from": None, "to": None}))
            for name, title in periods.PRESETS.items()
            if name != "custom"
        ],
        "preset_title": periods.PRESETS[question.preset],
        "comparisons": [
            (name, title, question.link(compare=name, cfrom=None, cto=None))
            for name, title in periods.COMPARISONS.items()
            if name != "custom"
        ],
        "comparison_title": periods.COMPARISONS[question.comparing],
        "site_links": [
            (
                "",
                "All sites",
                question.link(site=None),
                len(question.sites) == len(question.visible),
            ),
            *(
                (site.slug, site.name, question.link(site=site.slug), question.sites == (site,))
                for site in question.visible
            ),
        ],
        "site_title": question.sites[0].name
        if len(question.sites) == 1
        else (
            "All sites"
            if len(question.sites) == len(question.visible)
            else f"{len(question.sites)} sites"
        ),
        "chips": [
            (TITLES[name], LABELS.get(word, word), question.toggled(name, word))
            for name, words in question.filters.items()
            for word in words
        ],
        "clear": question.link(gender=None, age=None, expression=None, weekday=None, hour=None),
        "metrics": [
            (name, title, question.link(metric=None if name == "visitors" else name))
            for name, title in METRICS.items()
        ],
        "shares_link": question.link(shares=None if question.corrected else "corrected"),
        "hidden": [
            (name, value)
            for name, value in question.query.items()
            if name not in ("period", "from", "to")
        ],
    }


def _drawn(question: Question, figures: Overview) -> dict[str, Any]:
    unit = UNITS[question.metric]
    title = f"{METRICS[question.metric]}, {question.period.text()}" + (
        f", compared with {question.other.text()}" if question.other else ""
    )
    links = [
        question.link(
            **{
                "period": "custom",
                "from": point.period.first.isoformat(),
                "to": point.period.last.isoformat(),
            }
        )
        if point.hour < 0
        else question.toggled("hour", str(point.hour))
        for point in figures.points
    ]
    return {
        "figures": figures,
        "chart": {
            frame.name: charts.line_chart(figures.points, frame, links, title=title, unit=unit)
            for frame in (charts.WIDE, charts.NARROW)
        },
        "unit": unit,
        "points": list(zip(figures.points, links, strict=True)),
        "lists": [_rows(question, panel) for panel in figures.panels if panel.name not in STRIPS],
        "strips": [_columns(question, panel) for panel in figures.panels if panel.name in STRIPS],
    }


BAR = 0.7
"""How much of a row the longest bar takes; the rest belongs to the figures."""


def _rows(question: Question, panel: Panel) -> dict[str, Any]:
    reach = max((row.high or row.share or 0 for row in panel.rows), default=0) or 1
    scale = BAR / reach
    return {
        "panel": panel,
        "rows": [
            {
                "row": row,
                "link": question.link(site=None if row.chosen else row.word)
                if panel.name == "site"
                else question.toggled(panel.name, row.word),
                "bar": ""
                if row.share is None
                else charts.bar(
                    row.share * scale,
                    None if row.low is None else row.low * scale,
                    None if row.high is None else row.high * scale,
                ),
            }
            for row in panel.rows
            if row.visitors != 0 or row.chosen or panel.name == "site"
        ],
    }


def _columns(question: Question, panel: Panel) -> dict[str, Any]:
    drawn = [
        (
            f"{row.label}: {row.visitors:,}" if row.visitors > 0 else f"{row.label}: too few",
            row.share or 0.0,
            row.chosen,
            question.toggled(panel.name, row.word),
        )
        for row in panel.rows
    ]
    return {
        "panel": panel,
        "svg": charts.columns(drawn),
        "first": panel.rows[0].label if panel.rows else "",
        "last": panel.rows[-1].label if panel.rows else "",
    }
