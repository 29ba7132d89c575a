"""How figures are written."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince

from flow.figures.protection import WITHHELD

register = template.Library()


@register.filter
def count(value: float | None) -> str:
    """1,240; `few` where a group is too small to be shown."""
    if value is None or value == WITHHELD:
        return "few"
    return f"{value:,.0f}"


@register.filter
def seconds(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"


@register.filter
def percent(value: float | None) -> str:
    """A share 0 … 1 as whole per cent."""
    return "" if value is None else f"{100 * value:.0f}%"


@register.filter
def change(value: float | None) -> str:
    if value is None:
        return ""
    sign = "+" if value >= 0.5 else ("−" if value <= -0.5 else "±")
    return f"{sign}{abs(value):.0f}%"


@register.filter
def ago(moment: datetime) -> str:
    """`just now`, `12 minutes ago`, `3 days ago`."""
    if timezone.now() - moment < timedelta(minutes=1):
        return "just now"
    return f"{timesince(moment, depth=1)} ago"


@register.filter
def svg(value: str) -> SafeString:
    """A drawing from `flow.charts`, which escapes every word that it is given."""
    return mark_safe(value)  # noqa: S308


@register.filter
def tenth(value: object) -> str:
    return f"{value / 10:.1f}" if isinstance(value, int) else "–"


@register.filter
def cell(value: object) -> str:
    """A report's cell."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
