"""`make bench`: time and memory of every stage → build/reports/bench.json.

The pipeline runs in this process over a 720p clip with four faces, then over 1, 2, 4, 8 and 16
faces; after that the whole sensor runs twice against a local hub, over a short visit and over an
empty scene. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from firmware.drivers.video_file import VideoFile
from firmware.errors import SensorError
from hil import report
from hil.bench import stages, whole
from hil.bench.crowd import crowd
from hil.bench.stages import Turns
from hil.scenes.render import Scene
from hil.scenes.script import STANDARD, Script, load
from hil.scenes.source import SceneSource, write_video

FACES = (1, 2, 4, 8, 16)
STAGES = ("read", "turn", "detect", "track", "attributes", "engines")
PEER_MS = 632.0
"""A 720p frame with four faces in @vladmandic/human 3.3.6 on the machine of docs/performance.md."""
_FOLDER = report.ROOT / "build" / "bench"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hil.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="length of each scene")
    seconds: float = parser.parse_args(words).seconds
    shutil.rmtree(_FOLDER, ignore_errors=True)
    try:
        figures = _figures(seconds)
    except SensorError as error:
        print(f"bench: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    path = report.write("bench", figures)
    print(f"bench: {report.machine()} → {path}")
    return 0


def _figures(seconds: float) -> dict[str, object]:
    _say("a 720p clip with four faces")
    clip = stages.measure(VideoFile(_clip("four", crowd(4, seconds)), realtime=False))
    with_four = clip.turns_with(4)
    overhead = clip.over("turn") / clip.over("engines")
    with_decoder = clip.over("read", "turn") / clip.over("engines")
    fps = 1e3 * len(clip.faces[stages.WARM :]) / clip.over("read", "turn")
    p95 = {}
    for faces in FACES:
        _say(f"{faces} faces")
        turns = stages.measure(SceneSource(Scene(crowd(faces, seconds / 2))))
        p95[str(faces)] = round(float(np.percentile(turns.turns_with(faces), 95)), 1)
    _say("the whole sensor: a short visit")
    visit = whole.run(_FOLDER / "visit", _clip("visit", load(STANDARD / "one_passes.scene")))
    _say("the whole sensor: an empty scene")
    empty = whole.run(_FOLDER / "empty", _clip("empty", crowd(0, seconds)))
    _show(clip)
    ms = float(np.mean(with_four))
    figures: dict[str, object] = {
        "overhead_ratio": round(overhead, 3),
        "overhead_ratio_with_decoder": round(with_decoder, 3),
        "ms_per_frame_4_faces": round(ms, 2),
        "peer_ms_per_frame_4_faces": PEER_MS,
        "times_faster_than_peer": round(PEER_MS / ms, 1),
        "fps_720p": round(fps, 1),
        "p95_ms_by_faces": p95,
        "rss_mb": visit.rss_mb,
        "cold_start_s": round(visit.first_record_s or 0.0, 2),
        "vision_ready_s": round(visit.vision_ready_s, 2),
        "empty_scene_cpu": round(empty.vision_cpu, 3),
        "stages_ms": {stage: clip.percentiles(stage) for stage in STAGES},
    }
    for name, value in figures.items():
        if name != "stages_ms":
            print(f"{name:30} {value}")
    return figures


def _clip(name: str, script: Script) -> Path:
    path = _FOLDER / f"{name}.mp4"
    write_video(Scene(script), path)
    return path


def _say(what: str) -> None:
    print(f"bench: {what}", flush=True)


def _show(turns: Turns) -> None:
    table = Table(title=f"A 720p frame with four faces, ms ({len(turns.faces)} frames)")
    for column in ("stage", "p50", "p95"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in STAGES:
        table.add_row(stage, *map(str, turns.percentiles(stage).values()))
    Console(width=80).print(table)


if __name__ == "__main__":
    sys.exit(main())
