"""Charts as SVG, drawn here: they work without script, print, and can be tested.

Colours and type come from the style sheet by class; no style attribute is used, for the content
security policy forbids it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    values = [v for p in points for v in (p.value, p.before) if v is not None]
    top = nice_top(max(values, default=0))
    inner = frame.width - _LEFT - _RIGHT
    base = frame.height - _BOTTOM
    step = inner / max(1, len(points))

    def x(at: int) -> float:
        return _LEFT + step * (at + 0.5)

    def y(value: float) -> float:
        return base - (base - _TOP) * value / top

    out = [
        f'<svg class="chart {frame.name}" viewBox="0 0 {frame.width} {frame.height}" '
        f'role="img" aria-label="{escape(title)}">',
        '<defs><pattern id="hatch-' + frame.name + '" width="6" height="6" '
        'patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="hatch" width="2" height="6"/></pattern></defs>',
    ]
    for part in range(5):
        value = top * part / 4
        out.append(
            f'<line class="grid" x1="{_LEFT}" x2="{frame.width - _RIGHT}" '
            f'y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            f'<text class="axis" x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">'
            f"{_short(value)}{unit}</text>"
        )
    for at, point in enumerate(points):
        if point.dark > 0:
            out.append(
                f'<rect class="dark" x="{x(at) - step / 2:.1f}" y="{_TOP}" '
                f'width="{step:.1f}" height="{base - _TOP}" '
                f'fill="url(#hatch-{frame.name})"/>'
            )
    every = max(1, -(-len(points) // frame.labels))
    for at in range(0, len(points), every):
        out.append(
            f'<text class="axis" x="{x(at):.1f}" y="{frame.height - 6}" text-anchor="middle">'
            f"{escape(_tick(points[at], len(points)))}</text>"
        )
    for run in _runs([p.before for p in points]):
        out.append(f'<path class="before" d="{_path(run, x, y)}"/>')
    for run in _runs([p.value for p in points]):
        if points[run[-1][0]].open and len(run) > 1:
            out.append(f'<path class="open" d="{_path(run[-2:], x, y)}"/>')
            run = run[:-1]
        line = _path(run, x, y)
        out.append(
            f'<path class="area" d="{line} L{x(run[-1][0]):.1f} {base} L{x(run[0][0]):.1f} '
            f'{base}Z"/><path class="line" d="{line}"/>'
        )
        if len(run) == 1:
            out.append(
                f'<circle class="dot" cx="{x(run[0][0]):.1f}" cy="{y(run[0][1]):.1f}" r="3"/>'
            )
    for at, (point, link) in enumerate(zip(points, links, strict=True)):
        spot = f"{y(point.value):.1f}" if point.value is not None else ""
        target = (
            f'<rect class="hit" x="{x(at) - step / 2:.1f}" y="0" width="{step:.1f}" '
            f'height="{base}" data-x="{x(at):.1f}" data-y="{spot}" '
            f'data-label="{escape(point.label)}" data-value="{_words(point.value, unit)}" '
            f'data-before="{_words(point.before, unit) if point.before is not None else ""}" '
            f'data-dark="{round(point.dark * 100)}" data-href="{escape(link)}"/>'
        )
        out.append(target)
    out.append("</svg>")
    return "".join(out)


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


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Stretches without a gap: a line never runs through what is not known."""
    runs: list[list[tuple[int, float]]] = []
    open_ = False
    for at, value in enumerate(values):
        if value is None:
            open_ = False
            continue
        if not open_:
            runs.append([])
            open_ = True
        runs[-1].append((at, value))
    return runs


def _path(
    run: Sequence[tuple[int, float]], x: Callable[[int], float], y: Callable[[float], float]
) -> str:
    return "M" + " L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in run)


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
