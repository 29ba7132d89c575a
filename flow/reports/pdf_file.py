"""A report as PDF: title, chart, table, notes; A4."""

from __future__ import annotations

import io
from html import escape
from typing import Any

from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from flow.figures.report import Report
from flow.reports.columns import cells, heading, notes

ACCENT, PAST, INK, GREY = (HexColor(c) for c in ("#3b5bdb", "#ced4da", "#1a1c23", "#6b7280"))
_TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=18, leading=22, textColor=INK)
_SMALL = ParagraphStyle("small", fontName="Helvetica", fontSize=8.5, leading=12, textColor=GREY)
_CELL = ParagraphStyle("cell", fontName="Helvetica", fontSize=8.5, leading=10.5, textColor=INK)


def write(report: Report, name: str = "Visitors") -> bytes:
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out, pagesize=A4, margins=18 * mm, title=name, author="FLOW", lang="en"
    )
    story: list[Any] = [
        Paragraph(escape(name), _TITLE),
        Paragraph(escape(notes(report)[0]), _SMALL),
        Spacer(1, 6 * mm),
    ]
    if report.lines:
        story += [_chart(report), Spacer(1, 6 * mm)]
    story.append(_table(report))
    story.append(Spacer(1, 5 * mm))
    story += [Paragraph(escape(note), _SMALL) for note in notes(report)[1:]]
    document.build(story, onFirstPage=_foot, onLaterPages=_foot)
    return out.getvalue()


def _chart(report: Report) -> Drawing:
    lines = report.lines[:40]
    drawing = Drawing(480, 170)
    chart = VerticalBarChart()
    chart.x, chart.y, chart.width, chart.height = 36, 34, 440, 126
    chart.data = [[max(0, line.visitors) for line in lines]]
    if report.question.other:
        chart.data.append([max(0, line.before or 0) for line in lines])
    chart.bars.strokeWidth = 0
    chart.bars[0].fillColor = ACCENT
    if len(chart.data) > 1:
        chart.bars[1].fillColor = PAST
    every = -(-len(lines) // 12)
    chart.categoryAxis.categoryNames = [
        line.label[:14] if at % every == 0 else "" for at, line in enumerate(lines)
    ]
    for labels in (chart.categoryAxis.labels, chart.valueAxis.labels):
        labels.fontName, labels.fontSize, labels.fillColor = "Helvetica", 7, GREY
    chart.categoryAxis.labels.angle = 25 if len(lines) > 6 else 0
    chart.categoryAxis.labels.dy = -8
    chart.valueAxis.valueMin = 0
    chart.valueAxis.strokeWidth = 0
    chart.valueAxis.visibleGrid = True
    chart.valueAxis.gridStrokeColor = HexColor("#e5e7eb")
    drawing.add(chart)
    return drawing


def _table(report: Report) -> Table:
    rows: list[list[Any]] = [
        [Paragraph(f"<b>{escape(word)}</b>", _CELL) for word in heading(report)]
    ]
    rows += [
        [_written(cell) for cell in cells(report, line)] for line in [*report.lines, report.total]
    ]
    table = Table(rows, repeatRows=1, hAlign="LEFT")
    table.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), "Helvetica", 8.5),
                ("TEXTCOLOR", (0, 0), (-1, -1), INK),
                ("ALIGN", (1, 1), (-1, -1), "RIGHT"),
                ("LINEBELOW", (0, 0), (-1, 0), 0.6, INK),
                ("LINEABOVE", (0, -1), (-1, -1), 0.6, INK),
                ("FONT", (0, -1), (-1, -1), "Helvetica-Bold", 8.5),
                ("LINEBELOW", (0, 1), (-1, -2), 0.25, HexColor("#e5e7eb")),
            ]
        )
    )
    return table


def _written(cell: Any) -> str:
    if cell is None:
        return "–"
    return f"{cell:,}" if isinstance(cell, (int, float)) else str(cell)


def _foot(canvas: Any, document: Any) -> None:
    canvas.setFont("Helvetica", 8)
    canvas.setFillColor(GREY)
    canvas.drawString(18 * mm, 10 * mm, "FLOW")
    canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, str(document.page))
