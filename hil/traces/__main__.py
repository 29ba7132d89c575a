"""The command `python -m hil.traces` (make proof): run the proof, show its table, write its report.

Exit status 1: a promise is broken, and the table says which.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from firmware.errors import SensorError
from hil import report
from hil.traces import apart


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.traces", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer visitors, no costs: 2 minutes")
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
    from hil.traces import proof  # noqa: PLC0415  the child must not import it so early

    began = time.monotonic()
    print(f"proof: drawing visitors (repeat them with --seed {seed})", flush=True)
    interactions = proof.SHORT if short else proof.FULL
    status, figures = apart.run(
        "hil.traces",
        ["--seed", str(seed), *(["--short"] if short else [])],
        lambda folder: proof.draw(folder, interactions, seed, scene=not short),
    )
    if figures is None:
        return status or 1
    path = report.write("proof_short" if short else "proof", figures)
    word = "kept" if status == 0 else "BROKEN"
    print(f"proof: {word}, {time.monotonic() - began:.0f} s → {path}")
    return status


def _inside(folder: Path, pipe: int, seed: int, *, short: bool) -> int:
    from hil.traces import rights  # noqa: PLC0415

    uncovered = rights.enter_own_namespaces()
    from hil.traces import account, proof  # noqa: PLC0415  these load what starts threads

    made = proof.clips(folder)
    interactions = proof.SHORT if short else proof.FULL
    control = proof.seen_writes()
    outcome = proof.whole_sensor(made, interactions, seed, apart.tell("needles"))
    core = proof.crash(made, seed)
    written = rights.written()
    bytes_left = proof.differences(made, seed, apart.tell("byte difference"))
    cost: Any = None
    if not short:
        from hil.traces import cost as costs  # noqa: PLC0415

        cost = costs.measure(made.scene, made.many, apart.tell("cost"))
    found = account.Account(outcome, bytes_left, core, written, uncovered, control, cost)
    rows = account.lines(found)
    print(account.table(rows), flush=True)
    apart.send(pipe, account.figures(found))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
