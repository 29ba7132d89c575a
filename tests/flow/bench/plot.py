"""`python -m tests.flow.bench.plot`: build/reports/flow.json → docs/flow/cost.svg."""

from __future__ import annotations

import json
import os
import sys

import django

from hil import report

WIDE, TALL, LEFT, BOTTOM = 720, 300, 56, 44
LINES = (("python_cpu_p95_ms", "CPU of a page, p95", "#3b5bdb"),)
"""Wall times too, once they come from a quiet machine: they measure its other work otherwise."""
TARGET_MS = 150


def main() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "flow.settings"
    django.setup()
    steps = json.loads((report.REPORTS / "flow.json").read_text())["pages"]["steps"]
    path = report.ROOT / "docs" / "flow" / "cost.svg"
    path.write_text(drawn(steps) + "\n", encoding="utf-8")
    print(path)
    return 0


def drawn(steps: list[dict[str, float]]) -> str:
    """Milliseconds against millions of interactions, with the overview's target."""
    from flow.charts import nice_top

    most = nice_top(max(step["rows"] for step in steps) / 1e6)
    slowest = nice_top(max(TARGET_MS, *(step[key] for step in steps for key, _, _ in LINES)))

    def x(millions: float) -> float:
        return LEFT + (WIDE - LEFT - 20) * millions / most

    def y(ms: float) -> float:
        return TALL - BOTTOM - (TALL - BOTTOM - 16) * ms / slowest

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {TALL}" '
        'font-family="sans-serif" font-size="12" fill="#5c6270">',
        f'<rect width="{WIDE}" height="{TALL}" fill="#fff"/>',
    ]
    for part in range(5):
        ms, millions = slowest * part / 4, most * part / 4
        parts.append(f'<path stroke="#e7e7e3" d="M{LEFT} {y(ms):.1f}H{WIDE - 20}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g}</text>')
        parts.append(f'<text x="{x(millions):.1f}" y="{TALL - 24}">{millions:g}</text>')
    goal = y(TARGET_MS)
    parts.append(
        f'<path stroke="#b3372f" stroke-dasharray="5 4" d="M{LEFT} {goal:.1f}H{WIDE - 20}"/>'
        f'<text x="{LEFT + 6}" y="{goal - 5:.1f}" fill="#b3372f">target of the overview</text>'
    )
    for at, (key, title, colour) in enumerate(LINES):
        line = " ".join(f"{x(step['rows'] / 1e6):.1f},{y(step[key]):.1f}" for step in steps)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        parts.append(f'<text x="{WIDE - 160}" y="{30 + 18 * at}" fill="{colour}">{title}</text>')
    parts.append(
        f'<text x="{LEFT}" y="{TALL - 6}">million interactions; milliseconds at the server</text>'
    )
    return "\n".join([*parts, "</svg>"])


if __name__ == "__main__":
    sys.exit(main())
