"""`python -m hil.rigs RIG`: run the scenarios on a rig → build/reports/<name>.json, .html, .xml.

RIG is `process`, `virtual`, `pi` or `jetson`, or a rig file of your own. The report of the rig of
processes is called hil, that of the virtual rig rig.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from firmware.errors import ConfigError
from hil import report
from hil.rigs import files, page, results

_NAMES = {"process": "hil", "virtual": "rig"}
_SCENARIOS = report.ROOT / "hil" / "scenarios"
_ORDER = ("visitors", "trouble", "power", "update", "models", "soak")
"""A virgin board comes first; what takes long, last."""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hil.rigs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rig", help="name of a rig, or its file")
    parser.add_argument("--cuts", type=int, default=5, help="power cuts in mid-interaction (5)")
    parser.add_argument("--interactions", type=int, default=0, help="of the soak (none)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of power cuts")
    parser.add_argument("-k", metavar="WORDS", default="", help="only scenarios with such names")
    parser.add_argument(
        "--beside",
        metavar="WORDS",
        help="run scenarios with such names on a second rig at the same time, in a network of its "
        "own (as root); the report is one",
    )
    parser.add_argument("--report", metavar="NAME", help="name of the report")
    chosen = parser.parse_args(words)
    try:
        file = files.rig(chosen.rig)
    except ConfigError as error:
        parser.error(str(error))
    name = chosen.report or _NAMES.get(file.stem, file.stem)
    return run(file, name, chosen)


def run(file: Path, name: str, chosen: argparse.Namespace) -> int:
    """Run the scenarios and write the report; → exit status, 0 when nothing failed."""
    began = time.monotonic()
    words = chosen.k
    if chosen.beside:
        words = f"({chosen.k or 'test'}) and not ({chosen.beside})"  # each is called test_…
    with _second(file, name, chosen) as second:
        ended = _scenarios(file, name, chosen, words)
        complete = ended in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if second and complete:
            second.wait()
    if not complete:
        none = ended is pytest.ExitCode.NO_TESTS_COLLECTED
        why = "no scenario has such a name" if none else "it was stopped before its end"
        print(f"{file.stem}: {why}; no report is written", file=sys.stderr)
        return int(ended)
    if second and not _written(_beside(name)).exists():
        log = _folder(_beside(name)) / "said.txt"
        print(f"{file.stem}: no report of the second rig, see {log}", file=sys.stderr)
        return 1
    said = [_said(_folder(name) / "health.jsonl")]
    if second:
        results.append(_junit(name), _junit(_beside(name)))
        said.append(_said(_folder(_beside(name)) / "health.jsonl"))
    found = results.Results(
        rig=file.stem,
        title=_title(file),
        scenarios=results.read(_junit(name)),
        said=results.one_after_another(said),
        samples=_json(_folder(name) / "soak.json"),
        last_soak=_last_soak() if name == "hil" else None,
    )
    path = report.write(name, {**found.figures(), "seconds": round(time.monotonic() - began)})
    page.write(found, json.loads(path.read_text("utf-8")), name)
    _show(found)
    print(f"{file.stem}: {'passed' if found.passed else 'FAILED'} → {path}, .html, .xml")
    return 0 if found.passed else 1


def _scenarios(file: Path, name: str, chosen: argparse.Namespace, words: str) -> int:
    """Run those with such names; → pytest's exit status."""
    folder = _folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    report.REPORTS.mkdir(parents=True, exist_ok=True)
    for old in (_junit(name), folder / "health.jsonl", folder / "soak.json"):
        old.unlink(missing_ok=True)
    return pytest.main(
        [
            *("-c", str(_SCENARIOS / "pytest.ini"), "--rootdir", str(report.ROOT)),
            *("-p", "no:cacheprovider", "-v", "--tb=short"),
            *("--lg-env", str(file), "--junitxml", str(_junit(name)), "--kept", str(folder)),
            *("--cuts", str(chosen.cuts), "--interactions", str(chosen.interactions)),
            *("--seed", str(chosen.seed), "-k", words),
            *(str(_SCENARIOS / f"test_{part}.py") for part in _ORDER),
        ]
    )


@contextlib.contextmanager
def _second(
    file: Path, name: str, chosen: argparse.Namespace
) -> Iterator[subprocess.Popen[bytes] | None]:
    """The same rig once more, with what shall run beside this one; it ends with this one.

    Both have the same addresses and ports, so that it gets a network in which nothing else is."""
    if not chosen.beside:
        yield None
        return
    folder = _folder(_beside(name))
    folder.mkdir(parents=True, exist_ok=True)
    _written(_beside(name)).unlink(missing_ok=True)
    words = [sys.executable, "-m", "hil.rigs", str(file), "-k", chosen.beside]
    words += ["--report", _beside(name), "--cuts", str(chosen.cuts), "--seed", str(chosen.seed)]
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words]
    print(f"{file.stem}: beside it, {chosen.beside} → {folder / 'said.txt'}", flush=True)
    with (folder / "said.txt").open("wb") as said:
        second = subprocess.Popen(alone, cwd=report.ROOT, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield second
    finally:
        second.terminate()
        second.wait()


def _beside(name: str) -> str:
    return f"{name}-beside"


def _folder(name: str) -> Path:
    return report.ROOT / "build" / "hil" / name


def _junit(name: str) -> Path:
    return report.REPORTS / f"{name}.xml"


def _written(name: str) -> Path:
    return report.REPORTS / f"{name}.json"


def _title(file: Path) -> str:
    """The first line of a rig file says what the rig is."""
    return file.read_text("utf-8").splitlines()[0].lstrip("# ").rstrip(".")


def _said(file: Path) -> list[results.Said]:
    if not file.exists():
        return []
    return [results.Said(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]


def _json(file: Path) -> list[dict[str, object]]:
    return list(json.loads(file.read_text("utf-8"))) if file.exists() else []


def _last_soak() -> dict[str, object] | None:
    """What `make soak` has left."""
    file = _written("soak")
    if not file.exists():
        return None
    known = json.loads(file.read_text("utf-8"))
    return (
        {**known["soak"], "commit": known["commit"], "date": known["date"]}
        if known["soak"]
        else None
    )


def _show(found: results.Results) -> None:
    table = Table(title=f"Scenarios on the rig {found.rig}")
    for column in ("scenario", "verdict", "seconds", "what it showed"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for each in found.scenarios:
        shown = "; ".join(f"{n} {v}" for n, v in each.notes.items() if n != "soak")
        style = "bold red" if each.verdict == "failed" else None
        table.add_row(each.title, each.verdict, f"{each.seconds:g}", each.why or shown, style=style)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    # Whoever ends the run ends its hub and its board too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
