"""`python -m hil.scenes`: render a scene to a video, or count in all of the standard ones."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from firmware.errors import ConfigError, SensorError
from firmware.record import Interaction
from hil import report
from hil.scenes import evaluation
from hil.scenes.render import Scene
from hil.scenes.script import STANDARD, load, standard
from hil.scenes.source import write_video

_JUDGED = Path(__file__).parent / "clips.toml"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.scenes", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    draw = commands.add_parser("render", help="a scene to a video file, and its truth beside it")
    draw.add_argument("scene", type=Path, help="a .scene file, or the name of a standard scene")
    draw.add_argument("video", type=Path, help="file to write, .mp4 or .avi")
    draw.set_defaults(run=_render)
    evaluate = commands.add_parser(
        "evaluate", help="count in the standard scenes → build/reports/scenes.json"
    )
    evaluate.add_argument("scene", type=Path, nargs="*", help="these only")
    evaluate.add_argument("--clips", type=Path, help="count in the videos of this folder as well")
    evaluate.set_defaults(run=_evaluate)
    chosen = parser.parse_args(words)
    try:
        return int(chosen.run(chosen))
    except SensorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _render(chosen: argparse.Namespace) -> int:
    began = time.monotonic()
    scene = Scene(load(_found(chosen.scene)))
    truth = write_video(scene, chosen.video)
    print(f"{chosen.video}: {scene.length} frames in {time.monotonic() - began:.1f} s")
    print(f"{truth}: the truth about them")
    return 0


def _evaluate(chosen: argparse.Namespace) -> int:
    paths = [_found(path) for path in chosen.scene] or standard()
    clips = _clips_in(chosen.clips) if chosen.clips else []
    spawn = multiprocessing.get_context("spawn")
    workers = min(4, len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        counting = pool.map(evaluation.count, clips)
        figures = list(pool.map(evaluation.evaluate, paths))
        counted = [_clip_row(clip, *found) for clip, found in zip(clips, counting, strict=True)]
    rows = [each._asdict() for each in figures]
    _show(f"{len(rows)} scenes", rows)
    if counted:
        _show("Clips", counted)
    path = report.write("scenes", {"scenes": rows} | ({"clips": counted} if counted else {}))
    right = sum(each.counted == each.truth for each in figures)
    print(f"scenes: {right} of {len(rows)} counted right → {path}")
    return 0 if right == len(rows) else 1


def _found(path: Path) -> Path:
    """A scene's file, given by its path or as the name of a standard one."""
    return path if path.is_file() else STANDARD / f"{path.stem}.scene"


def _clips_in(folder: Path) -> list[Path]:
    clips = sorted(folder.glob("*.mp4")) + sorted(folder.glob("*.avi"))
    if not clips:
        raise ConfigError(f"there is no video in {folder}", remedy="name a folder with .mp4 files")
    return clips


def _clip_row(clip: Path, seconds: float, interactions: list[Interaction]) -> dict[str, Any]:
    judged = msgspec.toml.decode(_JUDGED.read_bytes(), type=dict[str, dict[str, str]])
    return {
        "name": clip.stem,
        "seconds": round(seconds, 1),
        "a person sees": judged.get(clip.stem, {}).get("people", "not judged"),
        "counted": len(interactions),
        "who": "; ".join(
            f"{each.gender.value.value} {each.age.category.value} {each.dwell_ms / 1000:.1f} s"
            for each in interactions
        ),
    }


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for key, value in rows[0].items():
        table.add_column(key, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        wrong = "truth" in row and row["truth"] != row["counted"]
        table.add_row(*map(str, row.values()), style="bold red" if wrong else None)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    sys.exit(main())
