"""`make mutations`: take each ingredient of the promise away, one by one, and see it noticed.

An ingredient that nobody misses is useless, or the proof does not prove it. Each is taken from the
real vision process; then its own guarantees, the needles, the byte difference and, at last, traces
that are planted on purpose are asked.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from firmware.errors import SensorError
from firmware.vision import native
from hil import report
from hil.traces import apart
from hil.traces.ingredients import INGREDIENTS, NO_FILLS

_SEED = 20


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.traces.mutations", description=__doc__)
    parser.add_argument("name", nargs="*", help="ingredients, instead of all of them")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    unknown = set(chosen.name) - {each.name for each in INGREDIENTS}
    if unknown:
        parser.error(f"no such ingredient: {', '.join(sorted(unknown))}")
    try:
        if chosen.inside:
            return _inside(Path(chosen.inside[0]), int(chosen.inside[1]), chosen.name)
        status, figures = apart.run("hil.traces.mutations", chosen.name, _draw)
    except SensorError as error:
        print(f"mutations: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    if figures is not None:
        print(f"mutations: {figures['noticed']} of {figures['ingredients']} noticed", end=" ")
        print(f"→ {report.write('mutations', figures)}")
    return status


def _draw(folder: Path) -> None:
    from hil.traces import planted, proof, visitors  # noqa: PLC0415  the child must not, so early

    native.compiled(planted.SOURCE)
    visitors.write(folder / "visits.mp4", visitors.programme(3, _SEED, begins=visitors.ONE_STAYS))
    proof.draw_pairs(folder, _SEED)


def _inside(folder: Path, pipe: int, names: list[str]) -> int:
    from hil.traces import rights  # noqa: PLC0415

    rights.enter_own_namespaces()
    from hil.traces import bench  # noqa: PLC0415  this loads what starts threads

    with bench.Bench(folder, _SEED) as tried:
        rows = [tried.shipped()]
        chosen = (each for each in INGREDIENTS if not names or each.name in names)
        rows += [tried.without(each) for each in chosen]
        fills = tried.without_fills(NO_FILLS) if not names else {}
    taken = rows[1:]
    noticed = sum(row.noticed for row in taken)
    figures = {
        "ingredients": len(taken),
        "noticed": noticed,
        "clean_as_shipped": not rows[0].noticed,
        "rows": [row._asdict() for row in rows],
        "fills": fills,
    }
    apart.send(pipe, figures)
    return 0 if noticed == len(taken) and not rows[0].noticed else 1


if __name__ == "__main__":
    sys.exit(main())
