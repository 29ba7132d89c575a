"""The forms that a report is written in: name → (writer, media type)."""

from __future__ import annotations

from collections.abc import Callable

from flow.figures.report import Report
from flow.reports import csv_file, pdf_file, xlsx_file

FORMS: dict[str, tuple[Callable[[Report], bytes], str]] = {
    "csv": (csv_file.write, "text/csv; charset=utf-8"),
    "xlsx": (
        xlsx_file.write,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    "pdf": (pdf_file.write, "application/pdf"),
}
