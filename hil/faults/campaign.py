"""Thousands of records through hundreds of faults: what was lost, what doubled, what stuck."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from hil.demo.pilot import loopback
from hil.faults import secrets
from hil.faults.injections import Injection, deck
from hil.faults.link import Link
from hil.faults.rig import ACKNOWLEDGE_S, HUB, ID_SCOPE, Rig
from hil.local_hub import Service, ServiceError, running

GIVE_UP_S = 90.0
RATE = 200.0
"""Records per second of each fault's share, so that it strikes into a stream of them."""


@dataclass
class Kind:
    """How one kind of fault went, and how long it may keep records from arriving."""

    within_s: float
    faults: int = 0
    stalls_s: list[float] = field(default_factory=list)

    @property
    def late(self) -> int:
        return sum(stall_s > self.within_s for stall_s in self.stalls_s)


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
        self.kinds = {card.name: Kind(card.within_s) for card in cards}
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
        stored, since, longest = self.rig.tally.look(), time.monotonic(), 0.0
        while stored < allowed:
            time.sleep(0.02)
            now, seen = time.monotonic(), self.rig.tally.look()
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
        sealed = len(self.rig.tally.sealed())
        self.console.print(
            f"faults {self.faults}  sealed {sealed}  stored {self.rig.tally.look()}  "
            f"longest stall {self.longest_stall_s:.1f} s",
            highlight=False,
        )


def run(
    folder: Path, python: str, console: Console, *, records: int, faults: int, seed: int
) -> dict[str, Any]:
    """One campaign → its figures; the sensor's log and all else stays in `folder`.

    Args:
        python: interpreter of the uplink: it decides which SDK is used.

    Raises:
        AssertionError: records stopped arriving, or the sensor did something that it must not.
    """
    chance = random.Random(seed)
    address, link = loopback(), Link()
    with running(folder / "hub", address, "--hub", HUB, "--id-scope", ID_SCOPE) as hub:
        rig = Rig(folder, hub, address, python=python, rate=RATE)
        try:
            cards = deck(link, rig.clock_can_jump, faults, chance)
            campaign = Campaign(rig, cards, console, records)
            began = time.monotonic()
            campaign.run()
            seconds = time.monotonic() - began
            if rig.stop() != 0:
                raise AssertionError("the supervisor did not stop in order")
        finally:
            if rig.process.poll() is None:
                rig.kill()
            link.lose(0)
        figures = _figures(rig, campaign, hub, seconds)
    figures["events"] = events(rig.log)
    figures["kept_out"] = rig.tally.tampered(chance)
    known = secrets.secrets(folder)
    figures["secrets_searched"] = len(known)
    figures["secrets_in_log"] = len(secrets.leaks(rig.log.read_bytes(), known))
    return figures


COUNTED = (
    *("hub_connected", "hub_lost", "hub_refused", "hub_stalled", "registered"),
    *("thread_died", "certificate_rotated", "recipient_changed"),
)


def events(log: Path) -> dict[str, int]:
    """How often a sensor's log tells of its connections, the watchdog and new uplinks, and how many
    lines in it are no event."""
    text = log.read_text("utf-8").splitlines()
    lines = [json.loads(line) for line in text if line.startswith("{")]
    found = Counter(line["event"] for line in lines)
    starts = sum(
        line["event"] == "process_started" and line["process"] == "uplink" for line in lines
    )
    counted = {name: found[name] for name in COUNTED}
    return {**counted, "uplink_started": starts, "no_event": len(text) - len(lines)}


def passed(figures: dict[str, Any]) -> bool:
    """Whether nothing was lost, doubled, reused, let in, leaked or stuck."""
    kept_out = figures["kept_out"]
    wrong = (
        *(figures[name] for name in ("lost", "duplicated_after_reader", "numbers_reused")),
        *(figures[name] for name in ("secrets_in_log", "stalls_beyond_limit")),
        figures["events"]["no_event"],
        *(kept_out[name] for name in ("replayed_taken", "altered_taken_whole")),
    )
    return not any(wrong)


def _figures(rig: Rig, campaign: Campaign, hub: Service, seconds: float) -> dict[str, Any]:
    rig.tally.look()
    stored, sealed, opened = rig.tally.stored, rig.tally.sealed(), rig.tally.opened()
    first = {name: samples[0] for name, samples in campaign.samples.items()}
    last = {name: samples[-1] for name, samples in campaign.samples.items()}
    return {
        "records": len(sealed),
        "faults": campaign.faults,
        "lost": len(set(sealed) - set(opened)),
        "duplicated_before_reader": sum(stored.values()) - len(stored),
        "duplicated_after_reader": sum(opened.values()) - len(opened),
        "numbers_reused": len(sealed) - len(set(sealed)),
        "longest_stall_s": round(campaign.longest_stall_s, 2),
        "stalls_beyond_limit": sum(kind.late for kind in campaign.kinds.values()),
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
                "within_s": kind.within_s,
            }
            for name, kind in sorted(campaign.kinds.items())
        },
    }
