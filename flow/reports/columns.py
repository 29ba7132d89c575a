"""The columns of a report and the notes below it, the same for every form of it."""

from __future__ import annotations

import math
from typing import Any

from django.conf import settings

from flow.figures.protection import WITHHELD
from flow.figures.question import ATTRIBUTES
from flow.figures.report import Line, Report


def heading(report: Report) -> list[str]:
    found = [report.split_title, "Visitors"]
    if report.question.other:
        found += ["Compared", "Change %"]
    if report.per != "none":
        found.append(f"Visitors {report.per_title}")
    if report.split in ATTRIBUTES:
        found += ["Share %", "95 % from", "95 % to"]
    found += ["Mean stay s", "Mean attention s"]
    if report.split == "site":
        found += ["Numbers missing", "Sensor dark %"]
    return found


def cells(report: Report, line: Line) -> list[Any]:
    """One line's values: numbers, words, or None for nothing."""
    found: list[Any] = [line.label, _count(line.visitors)]
    if report.question.other:
        found += [None if line.before is None else _count(line.before), _round(line.change_percent)]
    if report.per != "none":
        found.append(_round(line.rate, 2))
    if report.split in ATTRIBUTES:
        found += [_percent(line.share), _percent(line.low), _percent(line.high)]
    found += [_round(line.dwell_s), _round(line.attention_s)]
    if report.split == "site":
        found += [line.missing, _round(line.dark_percent)]
    return found


def notes(report: Report) -> list[str]:
    """What a reader must know to read the figures right."""
    question, state = report.question, report.quality
    k = settings.K_ANONYMITY
    found = [
        f"Period: {question.period.text()}"
        + (f"; compared with {question.other.text()}" if question.other else ""),
        "Sites: " + ", ".join(site.name for site in question.sites),
    ]
    for name, words in question.filters.items():
        found.append(f"Only {name}: {', '.join(words)}")
    if report.split in ATTRIBUTES or question.by_attribute:
        found.append(
            f"Groups of fewer than {k} visitors are not shown, and counts of groups carry a small "
            "random deviation (±6 in 95 of 100) so that no report singles anybody out."
        )
    if report.split in ATTRIBUTES:
        found.append(
            ("Shares are corrected for" if question.corrected else "Intervals include")
            + " the known error of the models that estimate gender, age and expression."
        )
    first = report.beginning.first
    if question.other and first and first > question.other.first:
        found.append(f"Counting began on {first}: there is no whole period to compare with.")
    for site, day in report.beginning.later:
        found.append(f"{site.name} counts since {day}: the comparison is with fewer sites.")
    if state.missing:
        found.append(
            f"Up to {state.missing:,} records ({state.missing_percent:.1f} %) did not arrive."
        )
    if state.dark_hours:
        found.append(
            f"Sensors gave no sign of life in {state.dark_hours:,} of {state.open_hours:,} opening "
            "hours; nothing was counted then, and nothing is filled in."
        )
    if state.unsynchronised:
        found.append(
            f"For {state.unsynchronised:,} records the sensor's clock was not synchronised."
        )
    return found


def _count(value: int) -> int | str:
    return "few" if value == WITHHELD else value


def _round(value: float | None, digits: int = 1) -> float | None:
    return None if value is None or math.isnan(value) else round(value, digits)


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 1)
