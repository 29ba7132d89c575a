"""Charts as SVG, drawn here: they work without script, print, and can be tested.

Colours and type come from the style sheet by class; no style attribute is used, for the content
security policy forbids it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from flow.figures.overview import Point


@dataclass(frozen=True)
class Frame:
    """Size of a drawing in its own units, and how many labels fit under it."""

    name: str
    width: int
    height: int
    labels: int


WIDE = Frame("wide", 1000, 260, 12)
NARROW = Frame("narrow", 380, 220, 5)
Run = list[tuple[int, float]]
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 12, 26


def nice_top(top: float) -> float:
    """The next of 1, 2, 2.5, 5 × 10ⁿ that is divisible into four steps."""
    if top <= 0:
        return 4.0
    unit: float = 10.0 ** math.floor(math.log10(top / 4))
    step = next(unit * part for part in (1, 2, 2.5, 5, 10) if unit * part * 4 >= top)
    return step * 4


def line_chart(
    points: Sequence[Point], frame: Frame, links: Sequence[str], *, title: str, unit: str = ""
) -> str:
    """Present values as an area, compared ones dashed, stretches without sensors hatched.

    Args:
        links: where a click on each point goes (by script; the table below the chart holds the
            same links for the keyboard).
    """
    scale = _Scale(points, frame)
    parts = [
        f'<svg class="chart {frame.name}" viewBox="0 0 {frame.width} {frame.height}" '
        f'role="img" aria-label="{escape(title)}">',
        f'<defs><pattern id="hatch-{frame.name}" width="6" height="6" '
        'patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="hatch" width="2" height="6"/></pattern></defs>',
        *scale.grid(unit),
        *scale.gaps(),
        *scale.labels(),
        *(f'<path class="before" d="{scale.path(run)}"/>' for run in _runs(points, "before")),
        *(scale.area(run) for run in _runs(points, "value")),
        *(
            scale.target(at, point, link, unit)
            for at, (point, link) in enumerate(zip(points, links, strict=True))
        ),
        "</svg>",
    ]
    return "".join(parts)


class _Scale:
    """Where things are in a line chart, and the drawing of each kind of them."""

    def __init__(self, points: Sequence[Point], frame: Frame) -> None:
        self.points, self.frame = points, frame
        values = [v for p in points for v in (p.value, p.before) if v is not None]
        self.top = nice_top(max(values, default=0))
        self.base = frame.height - _BOTTOM
        self.step = (frame.width - _LEFT - _RIGHT) / max(1, len(points))

    def x(self, at: int) -> float:
        return _LEFT + self.step * (at + 0.5)

    def y(self, value: float) -> float:
        return self.base - (self.base - _TOP) * value / self.top

    def path(self, run: Run) -> str:
        return "M" + " L".join(f"{self.x(at):.1f} {self.y(value):.1f}" for at, value in run)

    def grid(self, unit: str) -> Iterator[str]:
        for value in (self.top * part / 4 for part in range(5)):
            y = self.y(value)
            yield (
                f'<line class="grid" x1="{_LEFT}" x2="{self.frame.width - _RIGHT}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/><text class="axis" x="{_LEFT - 8}" '
                f'y="{y + 4:.1f}" text-anchor="end">{_short(value)}{unit}</text>'
            )

    def gaps(self) -> Iterator[str]:
        for at, point in enumerate(self.points):
            if point.dark > 0:
                yield (
                    f'<rect class="dark" x="{self.x(at) - self.step / 2:.1f}" y="{_TOP}" '
                    f'width="{self.step:.1f}" height="{self.base - _TOP}" '
                    f'fill="url(#hatch-{self.frame.name})"/>'
                )

    def labels(self) -> Iterator[str]:
        every = max(1, -(-len(self.points) // self.frame.labels))
        for at in range(0, len(self.points), every):
            yield (
                f'<text class="axis" x="{self.x(at):.1f}" y="{self.frame.height - 6}" '
                f'text-anchor="middle">{escape(_tick(self.points[at], len(self.points)))}</text>'
            )

    def area(self, run: Run) -> str:
        """A stretch of present values; the way to a value that still grows is dotted."""
        dotted = ""
        if self.points[run[-1][0]].open and len(run) > 1:
            dotted = f'<path class="open" d="{self.path(run[-2:])}"/>'
            run = run[:-1]
        line = self.path(run)
        first, last = self.x(run[0][0]), self.x(run[-1][0])
        dot = ""
        if len(run) == 1:
            dot = f'<circle class="dot" cx="{first:.1f}" cy="{self.y(run[0][1]):.1f}" r="3"/>'
        return (
            f'{dotted}<path class="area" d="{line} L{last:.1f} {self.base} L{first:.1f} '
            f'{self.base}Z"/><path class="line" d="{line}"/>{dot}'
        )

    def target(self, at: int, point: Point, link: str, unit: str) -> str:
        """What the pointer meets: a column as high as the chart that knows its point."""
        spot = "" if point.value is None else f"{self.y(point.value):.1f}"
        before = "" if point.before is None else _words(point.before, unit)
        return (
            f'<rect class="hit" x="{self.x(at) - self.step / 2:.1f}" y="0" '
            f'width="{self.step:.1f}" height="{self.base}" data-x="{self.x(at):.1f}" '
            f'data-y="{spot}" data-label="{escape(point.label)}" '
            f'data-value="{_words(point.value, unit)}" data-before="{before}" '
            f'data-dark="{round(point.dark * 100)}" data-href="{escape(link)}"/>'
        )


def columns_chart(
    rows: Sequence[tuple[str, float | None, float | None]], frame: Frame, *, title: str
) -> str:
    """A report's lines as columns, what they are compared with as a dashed line across each.

    Args:
        rows: label, value, compared value; None where withheld or not known.
    """
    top = nice_top(max((v for row in rows for v in row[1:] if v is not None), default=0))
    base = frame.height - _BOTTOM
    step = (frame.width - _LEFT - _RIGHT) / max(1, len(rows))
    wide = min(step * 0.72, 90)
    every = max(1, -(-len(rows) // frame.labels))
    letters = max(3, int(step * every / 6.5))
    parts = [
        f'<svg class="chart {frame.name}" viewBox="0 0 {frame.width} {frame.height}" '
        f'role="img" aria-label="{escape(title)}">'
    ]

    def y(value: float) -> float:
        return base - (base - _TOP) * value / top

    for part in range(5):
        value = top * part / 4
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text class="axis" x="{_LEFT - 8}" y="{y(value) + 4:.1f}" '
            f'text-anchor="end">{_short(value)}</text>'
        )
    for at, (label, now, before) in enumerate(rows):
        middle = _LEFT + step * (at + 0.5)
        if now is not None:
            parts.append(
                f'<rect class="column" x="{middle - wide / 2:.1f}" y="{y(now):.1f}" '
                f'width="{wide:.1f}" height="{base - y(now):.1f}" rx="2"/>'
            )
        if before is not None:
            parts.append(
                f'<path class="before" d="M{middle - step * 0.45:.1f} {y(before):.1f} '
                f'H{middle + step * 0.45:.1f}"/>'
            )
        if at % every == 0:
            word = label if len(label) <= letters else f"{label[: letters - 1]}…"
            parts.append(
                f'<text class="axis" x="{middle:.1f}" y="{frame.height - 6}" '
                f'text-anchor="middle">{escape(word)}</text>'
            )
    return "".join([*parts, "</svg>"])


def bar(share: float, low: float | None = None, high: float | None = None) -> str:
    """A bar for one row of a breakdown, 0 … 1, with the interval as a line below its end."""
    whisker = ""
    if low is not None and high is not None:
        whisker = (
            f'<line class="whisker" x1="{100 * low:.1f}" x2="{100 * high:.1f}" y1="8" y2="8"/>'
        )
    return (
        '<svg class="bar" viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * share:.1f}" height="16"/>{whisker}</svg>'
    )


def columns(rows: Sequence[tuple[str, float, bool, str]]) -> str:
    """Small columns, one link each: (label, share 0 … 1, chosen, link)."""
    wide = 240 / max(1, len(rows))
    out = ['<svg class="columns" viewBox="0 0 240 64" role="group">']
    for at, (label, share, chosen, link) in enumerate(rows):
        tall = 58 * share
        out.append(
            f'<a href="{escape(link)}" aria-label="{escape(label)}"'
            f'{" class=chosen" if chosen else ""}><rect class="hit" x="{at * wide:.2f}" y="0" '
            f'width="{wide:.2f}" height="64"/><rect class="column" x="{at * wide + 1:.2f}" '
            f'y="{60 - tall:.1f}" width="{wide - 2:.2f}" height="{max(tall, 1):.1f}" rx="1.5"/>'
            f"<title>{escape(label)}</title></a>"
        )
    out.append("</svg>")
    return "".join(out)


def _runs(points: Sequence[Point], name: str) -> list[Run]:
    """Stretches without a gap: a line never runs through what is not known."""
    runs: list[Run] = []
    known = False
    for at, point in enumerate(points):
        value = getattr(point, name)
        if value is not None:
            if not known:
                runs.append([])
            runs[-1].append((at, value))
        known = value is not None
    return runs


def _short(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def _tick(point: Point, many: int) -> str:
    if point.hour >= 0:
        return f"{point.hour:02d}"
    if point.period.days > 7:
        return f"{point.period.first:%b}"
    if point.period.days > 1:
        return f"{point.period.first.day} {point.period.first:%b}"
    if many <= 7:
        return f"{point.period.first:%a} {point.period.first.day}"
    return f"{point.period.first.day} {point.period.first:%b}"


def _words(value: float | None, unit: str) -> str:
    if value is None:
        return "too few to show"
    return f"{value:,.0f}{unit}" if not unit else f"{value:.1f} {unit}"
