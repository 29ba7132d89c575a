"""What the proof found, against what was promised: the table and the figures of its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hil.traces.cost import MOST_WIPE_MS, Cost
from hil.traces.proof import Differences, Outcome

MOST_AB_BYTES, LEAST_NO_WIPE_BYTES = 16, 1_000_000
LIMITED = {"memory_locked"}
"""What an ordinary user may lock is a limit of the machine; a device's unit raises it."""
MOST_FRAME_COST_PERCENT = 3.0


class Line(NamedTuple):
    """One row of the table: what was found, what was asked, and whether that is kept."""

    promise: str
    found: str
    asked: str
    kept: bool


@dataclass(frozen=True)
class Account:
    """Everything that was found.

    Attributes:
        core: whether a crash wrote one.
        written: files that came to be, were changed or were removed while the sensor ran.
        uncovered: folders in which that could not be seen.
        control: how many of three files that were written on purpose were seen.
        cost: what privacy costs; not measured by the short form.
    """

    outcome: Outcome
    bytes_left: Differences
    core: bool
    written: list[Path]
    uncovered: list[Path]
    control: int
    cost: Cost | None


def lines(found: Account) -> list[Line]:
    """The table, row by row."""
    outcome, needles, left = found.outcome, found.outcome.findings, found.bytes_left
    total = needles.needles.total()
    said = needles.said_bytes
    during = needles.hits["during"].total()
    rows = [
        _exact("interactions sealed and delivered", needles.interactions, outcome.expected),
        Line(
            "a  needles looked for in three processes",
            f"{total:,} of {len(needles.needles)} kinds",
            "",
            kept=True,
        ),
        _exact(
            "a  found while the visitor is in view (control)", needles.complete, outcome.expected
        ),
        Line("a  hits then", f"{during:,}", "> 100,000", during > 100_000),
        _exact("a  hits before the visit and after the wipe", needles.left, 0),
        Line(
            "b  bytes that follow the pixels",
            f"{left.shipped}",
            f"≤ {MOST_AB_BYTES}",
            left.shipped <= MOST_AB_BYTES,
        ),
        Line(
            "b  the same when one has left another",
            f"{left.leaver}",
            f"≤ {MOST_AB_BYTES}",
            left.leaver <= MOST_AB_BYTES,
        ),
        _exact("b  the same clip twice (control)", left.null, 0),
        Line(
            "b  without a wipe (control)",
            f"{left.no_wipe:,}",
            f"> {LEAST_NO_WIPE_BYTES:,}",
            left.no_wipe > LEAST_NO_WIPE_BYTES,
        ),
        Line(
            "b  on a stack that nothing overwrites (control)",
            f"{left.on_stack:,}",
            f"> {MOST_AB_BYTES}",
            left.on_stack > MOST_AB_BYTES,
        ),
        _exact("c  files written outside the identity partition", len(found.written), 0),
        _exact("c  folders in which that could not be seen", len(found.uncovered), 0),
        _exact("c  files written on purpose and seen (control)", found.control, 3),
        Line(
            "c  files changed on the identity partition",
            ", ".join(sorted(outcome.kept_files)),
            "hub.json, numbers",
            outcome.kept_files <= {"hub.json", "numbers"},
        ),
        _exact("c  hits in these", needles.said["disk"], 0),
        _exact("c  bytes in swap", outcome.swap_bytes, 0),
        _exact("c  cores written by a crash in mid-interaction", int(found.core), 0),
        _exact(f"d  hits in {said['wire']:,} bytes at the hub", needles.said["wire"], 0),
        _exact(f"e  hits in {said['log']:,} bytes of log", needles.said["log"], 0),
        Line(
            "de hits in the opened records (control)",
            f"{needles.ways_control:,}",
            "> 0",
            needles.ways_control > 0,
        ),
    ]
    broken = {name for name, holds in outcome.guarantees.items() if not holds}
    held = f"{len(outcome.guarantees) - len(broken)} of {len(outcome.guarantees)}"
    rows.append(
        Line(
            "guarantees that hold",
            ", ".join([held, *(f"not {name}" for name in sorted(broken))]),
            "all that this machine allows",
            bool(outcome.guarantees) and broken <= LIMITED,
        )
    )
    if found.cost:
        cost = found.cost
        wipe, frame = cost.wipe_ms_p95, cost.frame_percent
        rows += [
            Line(
                "milliseconds of a wipe, p95",
                f"{wipe}",
                f"≤ {MOST_WIPE_MS:.0f}",
                wipe <= MOST_WIPE_MS,
            ),
            Line("cost of a frame", f"{frame} %", "≤ 3 %", frame <= MOST_FRAME_COST_PERCENT),
            _exact(
                f"counted wrong in {cost.scenes} scenes, wipes of {MOST_WIPE_MS:.0f} ms among them",
                cost.miscounted,
                0,
            ),
            Line("most memory, without privacy", f"{cost.peak_mb_plain} MB", "", kept=True),
            Line("most memory", f"{cost.peak_mb} MB", "", kept=True),
        ]
    return rows


def table(rows: list[Line]) -> str:
    """The rows as text, with `BROKEN` where one is not kept, and places of what was found."""
    heads = ("", "found", "asked", "")
    cells = [heads, *((r.promise, r.found, r.asked, "" if r.kept else "BROKEN") for r in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    shown = (
        f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in cells
    )
    return "\n".join(shown)


def figures(found: Account) -> dict[str, Any]:
    """The report: the keys that others read, and `details`."""
    outcome, needles, left = found.outcome, found.outcome.findings, found.bytes_left
    return {
        "interactions": needles.interactions,
        "hits_after_wipe": needles.left,
        "controls_found": needles.complete,
        "ab_difference_bytes": max(left.shipped, left.leaver),
        "ab_null_bytes": left.null,
        "ab_no_wipe_bytes": left.no_wipe,
        "files_changed": len(found.written),
        "swap_bytes": outcome.swap_bytes,
        "guarantees": outcome.guarantees,
        "wipe_ms_p95": found.cost and found.cost.wipe_ms_p95,
        "frame_cost_percent": found.cost and found.cost.frame_percent,
        "details": {
            "cost": found.cost and found.cost._asdict(),
            "visits": needles.visits,
            "needles": dict(needles.needles),
            "hits": {phase: dict(kinds) for phase, kinds in needles.hits.items()},
            "missing": dict(needles.missing),
            "places_after_wipe": [[who, phase, *hit] for who, phase, hit in needles.places[:50]],
            "ab_leaver_bytes": left.leaver,
            "ab_on_stack_bytes": left.on_stack,
            "ab_places": left.places[:20],
            "files": [str(path) for path in found.written[:50]],
            "files_not_seen_in": [str(path) for path in found.uncovered],
            "identity_partition": sorted(outcome.kept_files),
            "hits_outside_memory": dict(needles.said),
            "bytes_outside_memory": dict(needles.said_bytes),
        },
    }


def _exact(promise: str, found: int, asked: int) -> Line:
    return Line(promise, f"{found:,}", f"{asked:,}", found == asked)
