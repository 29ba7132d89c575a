"""`python -m hil.accuracy --data DIR`: labelled pictures → build/reports/accuracy.json."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from firmware.errors import SensorError
from firmware.settings import Settings, check
from firmware.vision import models
from hil import report
from hil.accuracy import detection, faces, labelled
from hil.accuracy.stills import Visitor


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hil.accuracy",
        description=f"{__doc__}\n\n{labelled.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled pictures")
    parser.add_argument("--limit", type=int, default=0, help="so many of each set; 0: all")
    parser.add_argument("--width", type=int, default=448, help="[detection] width_px (448)")
    parser.add_argument(
        "--models",
        type=Path,
        default=models.directory(),
        metavar="DIR",
        help="a folder of models, such as the int8 or fp16/rounded one beside those of the sensor",
    )
    chosen = parser.parse_args(words)
    try:
        return _run(chosen.data, max(chosen.limit, 0), chosen.width, chosen.models)
    except SensorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(data: Path, limit: int, width_px: int, folder: Path) -> int:
    cv2.setNumThreads(1)
    settings = check({"detection": {"width_px": width_px}})
    sets = labelled.load(data, limit)
    began = time.monotonic()
    with Progress(
        TextColumn("{task.description:18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    ) as progress:
        figures, seen = _figures(sets, settings, folder, progress)
    console = Console()
    for of in ("detection", "age_gender", "expression"):
        console.print(_table(of, [group for group in figures["groups"] if group["of"] == of]))
    for path in seen:
        console.print(f"a face was seen in {path.name}: look whether there is one")
    for of in ("detection", "age", "gender", "expression"):
        console.print(f"{of}: " + "  ".join(f"{k}={v:.4f}" for k, v in figures[of].items()))
    own = folder == models.directory()
    path = report.write("accuracy" if own else f"accuracy-{folder.name}", figures)
    console.print(f"accuracy: {time.monotonic() - began:.0f} s → {path}")
    return 0


def _figures(
    sets: labelled.Sets, settings: Settings, folder: Path, progress: Progress
) -> tuple[dict[str, Any], list[Path]]:

    def stepper(name: str, total: int) -> Callable[[], None]:
        task = progress.add_task(name, total=total)
        return lambda: progress.advance(task)

    step = stepper("detection, no face", len(sets.crowds) + len(sets.empty))
    found, sizes, seen = detection.figures(sets.crowds, sets.empty, folder, settings, step)
    visitor = Visitor(folder, settings)
    try:
        step = stepper("age and gender", len(sets.people))
        age, gender, people = faces.age_and_gender(sets.people, visitor, step)
        step = stepper("expression", len(sets.shown))
        expression, shown = faces.expression(sets.shown, visitor, step)
    finally:
        visitor.close()
    figures = {"detection": found, "age": age, "gender": gender, "expression": expression}
    return {**figures, "groups": [*sizes, *people, *shown]}, seen


def _table(of: str, groups: list[dict[str, Any]]) -> Table:
    names = [name for name in groups[0] if name not in ("of", "by", "group")]
    table = Table("by", "group", *names, title=of)
    for group in groups:
        cells = (group.get(name, "") for name in names)
        words = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells)
        table.add_row(group["by"], group["group"], *words)
    return table


if __name__ == "__main__":
    sys.exit(main())
