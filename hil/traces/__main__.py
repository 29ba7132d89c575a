"""The command `python -m hil.traces`: draw the clips, run the proof in a world of its own, report.

The clips are drawn out here, where the portraits can be fetched; the proof runs in a child that
has a network and file systems of its own, and sends its figures back through a pipe.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from firmware.errors import SensorError
from firmware.vision import native
from hil import report

_FOLDER = report.ROOT / "build" / "proof"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.traces", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer visitors, two minutes")
    parser.add_argument("--seed", type=int, help="repeat the visitors of another run")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    seed = secrets.randbelow(1 << 31) if chosen.seed is None else chosen.seed
    try:
        if chosen.inside:
            folder, pipe = chosen.inside
            return _inside(Path(folder), int(pipe), seed, short=chosen.short)
        return _outside(seed, short=chosen.short)
    except SensorError as error:
        print(f"proof: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code


def _outside(seed: int, *, short: bool) -> int:
    from hil.traces import proof  # noqa: PLC0415  the child below must not import it so early

    began = time.monotonic()
    print(f"proof: drawing visitors (repeat them with --seed {seed})", flush=True)
    native.build()
    native.compiled(Path(__file__).with_name("same_world.c"))
    folder = _FOLDER / str(os.getpid())
    folder.mkdir(parents=True)
    try:
        proof.draw(folder, proof.SHORT if short else proof.FULL, seed)
        ours, theirs = os.pipe()
        inside = ["--inside", str(folder), str(theirs), "--seed", str(seed)]
        with subprocess.Popen(
            [sys.executable, "-m", "hil.traces", *inside, *(["--short"] if short else [])],
            pass_fds=[theirs],
            cwd=report.ROOT,
            # No pool of threads: only a process with one may make a user namespace.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        ) as child:
            os.close(theirs)
            with os.fdopen(ours, "rb") as figures:
                sent = figures.read()
    finally:
        shutil.rmtree(folder)
    if not sent:
        return child.returncode or 1
    figures_found = json.loads(sent)
    path = report.write("proof_short" if short else "proof", figures_found)
    kept = child.returncode == 0
    word = "every promise kept" if kept else "BROKEN"
    print(f"proof: {word}, {time.monotonic() - began:.0f} s → {path}")
    return child.returncode


def _inside(folder: Path, pipe: int, seed: int, *, short: bool) -> int:
    from hil.traces import rights  # noqa: PLC0415

    uncovered = rights.enter_own_namespaces()
    from hil.traces import account, proof  # noqa: PLC0415  these load what starts threads

    made = proof.clips(folder)
    interactions = proof.SHORT if short else proof.FULL
    control = proof.seen_writes()
    outcome = proof.whole_sensor(made, interactions, seed, _tell("needles"))
    core = proof.crash(made, seed)
    written = rights.written()
    bytes_left = proof.differences(made, seed, _tell("byte difference"))
    found = account.Account(outcome, bytes_left, core, written, uncovered, control)
    lines = account.lines(found)
    print(account.table(lines), flush=True)
    with os.fdopen(pipe, "w", encoding="utf-8") as out:
        json.dump(account.figures(found), out)
    return 0 if all(line.kept for line in lines) else 1


def _tell(part: str) -> Callable[[str], None]:
    began = time.monotonic()
    return lambda what: print(f"{time.monotonic() - began:6.0f} s  {part}: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
