"""The label on a unit's case: its name, and a code that leads to the notice of its site."""

from __future__ import annotations

import io
from html import escape

import segno

WIDTH_MM, HEIGHT_MM = 62, 29
"""A common size of endless labels."""
_CODE_MM = 25.0
_EDGE_MM = 2.0


def label(device: str, notice: str, version: str) -> str:
    """The label as SVG in millimetres, black on white, to be printed as it is.

    Args:
        notice: address of the site's public notice; it stands in the code and is printed too.
    """
    code = segno.make(notice, error="m")
    modules = io.BytesIO()
    code.save(modules, kind="svg", xmldecl=False, svgns=False, border=0, omitsize=True)
    side, _ = code.symbol_size(border=0)
    scale = _CODE_MM / side
    left = _EDGE_MM * 2 + _CODE_MM
    shown = notice.partition("://")[2] or notice
    lines = (
        (7.0, 4.2, device, "bold"),
        (12.0, 2.6, "This sensor counts visitors.", "normal"),
        (15.4, 2.6, "It keeps no image of anybody.", "normal"),
        (20.6, 2.2, shown[:34], "normal"),
        (26.0, 2.0, f"FLOW {version}", "normal"),
    )
    text = "".join(
        f'<text x="{left}" y="{y}" font-size="{size}" font-weight="{weight}">{escape(words)}</text>'
        for y, size, words, weight in lines
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_MM}mm" height="{HEIGHT_MM}mm" '
        f'viewBox="0 0 {WIDTH_MM} {HEIGHT_MM}" font-family="sans-serif">'
        f'<rect width="{WIDTH_MM}" height="{HEIGHT_MM}" fill="#fff"/>'
        f'<g transform="translate({_EDGE_MM} {_EDGE_MM}) scale({scale:.6f})">'
        f"{modules.getvalue().decode()}</g>{text}</svg>\n"
    )
