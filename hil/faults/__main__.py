"""`python -m hil.faults`: two campaigns and what follows → build/reports/faults.json."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hil import report
from hil.faults import aftermath, campaign, sdk
from hil.faults.link import enter_namespace

KEYS = (
    *("records", "faults", "lost", "duplicated_before_reader", "duplicated_after_reader"),
    *("longest_stall_s", "sdk", "threads_start", "threads_end", "rss_mb_start", "rss_mb_end"),
)
"""What is compared between SDKs."""

PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "power-cut": aftermath.power_cut,
    "outage": aftermath.long_outage,
    "batch": aftermath.batch,
    "return": aftermath.return_of_many,
}

_EPILOG = """\
Without WHAT everything is done: the campaign with our SDK and, at the same time, with the other
one (a report of its own, faults-<version>.json), then each of the parts. About a quarter of an
hour, most of it waiting.
"""


def main() -> int:
    options = _parser().parse_args()
    other = options.sdk if options.what == "campaign" else "" if options.what else sdk.OTHER
    sdk.interpreter(other)  # may have to be fetched: from a namespace there is no way out
    if options.what != "everything":
        enter_namespace()
    console = Console()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="flow-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if options.what == "campaign":
            return _campaign(options, folder, console)
        if options.what in PARTS:
            console.print(PARTS[options.what](folder / options.what), highlight=False)
            return 0
        return _everything(options, folder, console)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hil.faults",
        description="Faults against a sensor: what is lost, doubled and stuck.",
        epilog=_EPILOG,
    )
    what = ("everything", "campaign", *PARTS)
    parser.add_argument("what", nargs="?", choices=what, default="everything")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--sdk", default="", choices=("", sdk.OTHER), help="of a campaign: another SDK than ours"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the working files there")
    return parser


def _campaign(options: argparse.Namespace, folder: Path, console: Console) -> int:
    python = sdk.interpreter(options.sdk)
    measured = campaign.run(
        folder,
        python,
        console,
        records=options.records,
        faults=options.faults,
        seed=options.seed,
    )
    figures = {"sdk": sdk.version(python), **measured}
    path = report.write(_name(options.sdk), figures)
    _show(console, figures)
    console.print(f"report: {path}")
    return 0 if campaign.passed(figures) else 1


def _everything(options: argparse.Namespace, folder: Path, console: Console) -> int:
    words = [sys.executable, "-m", "hil.faults", "campaign"]
    for name in ("records", "faults", "seed"):
        words += [f"--{name}", str(getattr(options, name))]
    with (folder / "other.txt").open("w") as quiet:
        theirs = [*words, "--sdk", sdk.OTHER, "--keep", str(folder / "other")]
        beside = subprocess.Popen(theirs, stdout=quiet, stderr=quiet)
        status = subprocess.run([*words, "--keep", str(folder / "ours")], check=False).returncode
        status |= beside.wait()
    if status:
        console.print((folder / "other.txt").read_text())
        return 1
    ours, other = (_read(version) for version in ("", sdk.OTHER))
    for name, part in PARTS.items():
        console.print(f"{name} …")
        ours[name.replace("-", "_")] = part(folder / name)
        console.print(ours[name.replace("-", "_")], highlight=False)
    ours["compared"] = [
        {**{key: one[key] for key in KEYS}, **one["events"]} for one in (ours, other)
    ]
    path = report.write("faults", ours)
    table = Table("", *(str(one["sdk"]) for one in ours["compared"]))
    for key in ours["compared"][0]:
        if key != "sdk":
            table.add_row(key, *(str(one[key]) for one in ours["compared"]))
    console.print(table)
    console.print(f"report: {path}")
    return 0


def _name(version: str) -> str:
    return f"faults-{version}" if version else "faults"


def _read(version: str) -> dict[str, Any]:
    path = report.REPORTS / f"{_name(version)}.json"
    tree: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return tree


def _show(console: Console, figures: dict[str, Any]) -> None:
    table = Table("fault", "times", "stall, median", "longest", "limit")
    for name, kind in figures["kinds"].items():
        table.add_row(
            name,
            str(kind["faults"]),
            f"{kind['stall_s_median']:.2f} s",
            f"{kind['stall_s_max']:.2f} s",
            f"{kind['within_s']:.0f} s",
        )
    console.print(table)
    for name, value in figures.items():
        if name not in ("kinds", "processes", "struck_by_hub"):
            console.print(f"{name}: {value}", highlight=False)


if __name__ == "__main__":
    raise SystemExit(main())
