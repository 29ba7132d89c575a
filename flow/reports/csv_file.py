"""A report as CSV: UTF-8 with a byte order mark, so that Excel reads it without asking."""

from __future__ import annotations

import csv
import io
from typing import Any

from flow.figures.report import Report
from flow.reports.columns import cells, heading, notes


def write(report: Report) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(heading(report))
    for line in [*report.lines, report.total]:
        writer.writerow([_safe(cell) for cell in cells(report, line)])
    writer.writerow([])
    for note in notes(report):
        writer.writerow([_safe(note)])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _safe(cell: Any) -> Any:
    """A name that begins like a formula must stay a word in a spreadsheet."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return "" if cell is None else cell
