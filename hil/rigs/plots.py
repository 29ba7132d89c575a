"""Lines over time or over interactions, as SVG that stands in a page by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 96, 14, 30
_COLOURS = ("#1b5e8c", "#b3541e", "#2f7d4f", "#7a3b8f")
_STEPS = 4


def lines(
    series: Mapping[str, Points], *, title: str, unit: str, along: str = "s", marks: Points = ()
) -> str:
    """One chart; each series has its colour and its name at its end.

    Args:
        unit: of the values.
        along: of the places, which grow from left to right.
        marks: places of upright lines; their second numbers are not looked at.

    Returns: an `svg` element, or a sentence when there is nothing to draw.
    """
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        return f"<p class=none>{escape(title)}: this rig has none to show.</p>"
    places = [x for points in drawn.values() for x, _ in points]
    values = [y for points in drawn.values() for _, y in points]
    left, right = min(places), max(places)
    low, high = _bounds(min(values), max(values))

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / ((right - left) or 1)
        up = (y - low) / ((high - low) or 1)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for step in range(_STEPS + 1):
        value = low + (high - low) * step / _STEPS
        _, y = at(left, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="left" x="{_LEFT - 6}" y="{y + 4}">{value:g}</text>')
    for place, _ in marks:
        x, _ = at(place, low)
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{at(0, low)[1]}"/>'
        )
    for place in (left, right):
        x, _ = at(place, low)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 10}">{place:,.0f} {escape(along)}</text>')
    for (name, points), colour in zip(drawn.items(), _COLOURS * len(drawn), strict=False):
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<path d="M{path}" stroke="{colour}"/>')
        x, y = at(*points[-1])
        where = f'x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{colour}"'
        parts.append(f'<text class="name" {where}>{escape(name)}</text>')
    caption = f"<figcaption>{escape(title)}, {escape(unit)}</figcaption>"
    return f"<figure>{caption}{''.join(parts)}</svg></figure>"


def _bounds(low: float, high: float) -> tuple[float, float]:
    """Ends of the upright axis: zero when it is near, and round numbers in steps of a quarter."""
    low = 0.0 if low < high / 2 or low == high else low
    span = (high - low) or max(abs(high), 1.0)
    unit = 10.0 ** math.floor(math.log10(span / _STEPS))
    step = next(unit * part for part in (1, 2, 2.5, 5, 10) if unit * part * _STEPS >= span)
    first = math.floor(low / step) * step
    while first + step * _STEPS < high:
        step *= 2
        first = math.floor(low / step) * step
    return first, first + step * _STEPS
