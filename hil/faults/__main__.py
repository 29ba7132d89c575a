"""`python -m hil.faults`: the fault campaign → build/reports/faults.json."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hil import report
from hil.demo.pilot import loopback
from hil.faults import aftermath, sdk
from hil.faults.injections import Injection, deck
from hil.faults.rig import ACKNOWLEDGE_S, HUB, ID_SCOPE, Link, Rig
from hil.local_hub import Service, ServiceError, running

STALL_LIMIT_S = 3 * ACKNOWLEDGE_S + 6.0
"""Watchdog, longest restart pause, and a first connection that fails too."""
GIVE_UP_S = 90.0
RATE = 200.0
"""Records per second of each fault's share, so that it strikes into a stream of them."""


@dataclass
class Kind:
    """How one kind of fault went."""

    faults: int = 0
    stalls_s: list[float] = field(default_factory=list)


@dataclass
class Sample:
    """Processes at one moment: resident MB and threads."""

    rss_mb: float
    threads: int


class Campaign:
    """Faults against one sensor until enough of them struck and every record arrived."""

    def __init__(self, rig: Rig, cards: list[Injection], console: Console, total: int) -> None:
        self.rig = rig
        self.cards = cards
        self.console = console
        self.total = total
        self.kinds: dict[str, Kind] = defaultdict(Kind)
        self.faults = 0
        self.samples: dict[str, list[Sample]] = {"supervisor": [], "uplink": []}
        self.longest_stall_s = 0.0

    def run(self) -> None:
        """Give each fault its share of the records, and see them all arrive."""
        self.rig.allow(10)
        self._drain(10, "the start")
        self._sample()
        for number, card in enumerate(self.cards, start=1):
            allowed = self.total * number // len(self.cards)
            self.rig.allow(allowed)
            self._strike(card, allowed)
            if number % 10 == 0:
                self._sample()
                self._progress()
        self._sample()

    def _strike(self, card: Injection, allowed: int) -> None:
        try:
            card.strike(self.rig)
        except ServiceError as error:
            if error.status not in (404, 504):  # a method call finds the device away
                raise
        stall_s = self._drain(allowed, card.name)
        self.longest_stall_s = max(self.longest_stall_s, stall_s)
        kind = self.kinds[card.name]
        kind.faults += card.times
        kind.stalls_s.append(stall_s)
        self.faults += card.times

    def _drain(self, allowed: int, what: str) -> float:
        """Wait until all allowed records are stored; → the longest time without a new one."""
        stored, since, longest = self.rig.look(), time.monotonic(), 0.0
        while stored < allowed:
            time.sleep(0.02)
            now, seen = time.monotonic(), self.rig.look()
            longest = max(longest, now - since)
            if seen > stored:
                stored, since = seen, now
            elif now - since > GIVE_UP_S:
                raise AssertionError(f"nothing more arrives after: {what}; see {self.rig.log}")
        return longest

    def _sample(self) -> None:
        for name, process in (
            ("supervisor", self.rig.supervisor()),
            ("uplink", self.rig.uplink()),
        ):
            if process and process.age_s > 3:
                self.samples[name].append(Sample(process.rss_mb, process.threads))

    def _progress(self) -> None:
        sealed = len(self.rig.sealed())
        self.console.print(
            f"faults {self.faults}  sealed {sealed}  stored {self.rig.look()}  "
            f"longest stall {self.longest_stall_s:.1f} s",
            highlight=False,
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.faults", description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sdk", default="", metavar="VERSION", help="another SDK than ours")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the working files there")
    options = parser.parse_args()
    python = sdk.interpreter(options.sdk)  # may have to fetch it: there is no way out afterwards
    _enter_namespace()
    version = sdk.version(python)
    console = Console()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="flow-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        figures = _campaign(options, folder, python, console)
        if not options.sdk:
            figures["power_cut"] = aftermath.power_cut(folder / "cut", python)
            figures["outage"] = aftermath.long_outage(folder / "outage", python)
            figures["batch_of_200"] = aftermath.batch(folder / "batch")
            figures["return_of_200"] = aftermath.return_of_many()
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    figures = {"sdk": version, **figures}
    path = report.write(f"faults-{options.sdk}" if options.sdk else "faults", figures)
    _show(console, figures)
    console.print(f"report: {path}")
    good = figures["lost"] == 0 == figures["duplicated_after_reader"]
    return 0 if good and figures["longest_stall_s"] <= STALL_LIMIT_S else 1


def _campaign(
    options: argparse.Namespace, folder: Path, python: str, console: Console
) -> dict[str, Any]:
    chance = random.Random(options.seed)
    address, link = loopback(), Link()
    with running(folder / "hub", address, "--hub", HUB, "--id-scope", ID_SCOPE) as hub:
        rig = Rig(folder, hub, address, python=python, rate=RATE)
        try:
            cards = deck(link, rig.clock_can_jump, options.faults, chance)
            campaign = Campaign(rig, cards, console, options.records)
            began = time.monotonic()
            campaign.run()
            seconds = time.monotonic() - began
            if rig.stop() != 0:
                raise AssertionError("the supervisor did not stop in order")
        finally:
            if rig.process.poll() is None:
                rig.kill()
            link.lose(0)
        return _figures(rig, campaign, hub, seconds)


def _figures(rig: Rig, campaign: Campaign, hub: Service, seconds: float) -> dict[str, Any]:
    rig.look()
    sealed, opened = rig.sealed(), rig.opened()
    first = {name: samples[0] for name, samples in campaign.samples.items()}
    last = {name: samples[-1] for name, samples in campaign.samples.items()}
    return {
        "records": len(sealed),
        "faults": campaign.faults,
        "lost": len(set(sealed) - set(opened)),
        "duplicated_before_reader": sum(rig.stored.values()) - len(rig.stored),
        "duplicated_after_reader": sum(opened.values()) - len(opened),
        "numbers_reused": len(sealed) - len(set(sealed)),
        "longest_stall_s": round(campaign.longest_stall_s, 2),
        "acknowledge_s": ACKNOWLEDGE_S,
        "seconds": round(seconds),
        "threads_start": sum(one.threads for one in first.values()),
        "threads_end": sum(one.threads for one in last.values()),
        "rss_mb_start": round(sum(one.rss_mb for one in first.values()), 1),
        "rss_mb_end": round(sum(one.rss_mb for one in last.values()), 1),
        "processes": {
            name: {
                "start": asdict(samples[0]),
                "end": asdict(samples[-1]),
                "most": {
                    "rss_mb": max(one.rss_mb for one in samples),
                    "threads": max(one.threads for one in samples),
                },
            }
            for name, samples in campaign.samples.items()
        },
        "struck_by_hub": hub.stats()["faults"],
        "kinds": {
            name: {
                "faults": kind.faults,
                "stall_s_median": round(sorted(kind.stalls_s)[len(kind.stalls_s) // 2], 2),
                "stall_s_max": round(max(kind.stalls_s), 2),
            }
            for name, kind in sorted(campaign.kinds.items())
        },
    }


def _show(console: Console, figures: dict[str, Any]) -> None:
    table = Table("fault", "times", "stall, median", "longest")
    for name, kind in figures["kinds"].items():
        table.add_row(
            name,
            str(kind["faults"]),
            f"{kind['stall_s_median']:.2f} s",
            f"{kind['stall_s_max']:.2f} s",
        )
    console.print(table)
    for name, value in figures.items():
        if not isinstance(value, dict):
            console.print(f"{name}: {value}", highlight=False)
    for name in ("power_cut", "outage", "batch_of_200", "return_of_200"):
        if name in figures:
            console.print(f"{name}: {figures[name]}", highlight=False)


def _enter_namespace() -> None:
    """Go on in a network of our own, where packets may be lost, when the system permits it."""
    if os.environ.get("FLOW_NAMESPACE") or not shutil.which("unshare"):
        return
    words = ["unshare", "--net", "--map-root-user", "sh", "-c", "ip link set lo up"]
    tried = subprocess.run(words, capture_output=True, timeout=10, check=False)
    if tried.returncode == 0:
        script = 'ip link set lo up && exec "$@"'
        again = [sys.executable, "-m", "hil.faults", *sys.argv[1:]]
        os.environ["FLOW_NAMESPACE"] = "1"
        os.execvp("unshare", [*words[:3], "sh", "-c", script, "sh", *again])  # noqa: S606


if __name__ == "__main__":
    raise SystemExit(main())
