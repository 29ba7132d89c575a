"""A report as an Excel workbook with a chart."""

from __future__ import annotations

import io

import xlsxwriter

from flow.figures.report import Report
from flow.reports.columns import cells, heading, notes


def write(report: Report) -> bytes:
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, options) as book:
        sheet = book.add_worksheet("Report")
        bold = book.add_format({"bold": True, "bottom": 1})
        strong = book.add_format({"bold": True, "top": 1})
        grey = book.add_format({"font_color": "#666666"})
        titles = heading(report)
        sheet.write_row(0, 0, titles, bold)
        for at, line in enumerate(report.lines, start=1):
            sheet.write_row(at, 0, cells(report, line))
        end = len(report.lines) + 1
        sheet.write_row(end, 0, cells(report, report.total), strong)
        for at, note in enumerate(notes(report), start=end + 2):
            sheet.write(at, 0, note, grey)
        sheet.set_column(0, 0, 28)
        sheet.set_column(1, len(titles) - 1, 14)
        sheet.freeze_panes(1, 1)
        if report.lines:
            chart = book.add_chart({"type": "column"})
            last = len(report.lines)
            for column in (1, 2) if report.question.other else (1,):
                chart.add_series(
                    {
                        "name": ["Report", 0, column],
                        "categories": ["Report", 1, 0, last, 0],
                        "values": ["Report", 1, column, last, column],
                        "fill": {"color": "#3b5bdb" if column == 1 else "#ced4da"},
                    }
                )
            chart.set_size({"width": 720, "height": 320})
            sheet.insert_chart(end + 3 + len(notes(report)), 0, chart)
    return out.getvalue()
