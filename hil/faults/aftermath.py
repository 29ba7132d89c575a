"""What a power cut takes, what 72 hours without a hub do, and how 200 devices come back."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from firmware.uplink.backoff import Backoff
from hil.demo.pilot import loopback
from hil.faults.link import wire_octets
from hil.faults.rig import HUB, ID_SCOPE, Rig
from hil.local_hub import running
from hil.report import REPORTS

WITHIN_S = 600.0


def power_cut(folder: Path) -> dict[str, Any]:
    """Kill everything three times while records wait, and look at the numbers afterwards."""
    address = loopback()
    with running(folder / "hub", address, "--hub", HUB, "--id-scope", ID_SCOPE) as hub:
        rig = Rig(folder, hub, address, python=sys.executable, rate=50)
        rig.allow(1500)
        tally, waiting = rig.tally, 0
        try:
            for _ in range(3):
                _until(lambda: tally.look() > 0 and max(tally.stored) >= tally.sealed()[-1] - 20)
                hub.restart(3.0)  # the hub is away, records wait in RAM
                time.sleep(2.0)
                waiting = len(tally.sealed()) - tally.look()  # and what earlier cuts took
                rig.kill()
                rig.start()
            _until(lambda: len(tally.sealed()) == 1500)
            rig.stop()
        finally:
            if rig.process.poll() is None:
                rig.kill()
        tally.look()
        sealed, opened = tally.sealed(), tally.opened()
        gaps = sum(b - a > 1 for a, b in itertools.pairwise(sealed))
        missing = max(opened) - min(opened) + 1 - len(opened)
        return {
            "cuts": 3,
            "sealed": len(sealed),
            "lost": len(set(sealed) - set(opened)),
            "in_ram_at_the_cuts": waiting,
            "numbers_reused": len(sealed) - len(set(sealed)),
            "gaps_in_numbers": gaps,
            "missing_as_the_reader_sees_it": missing,
            "duplicated_after_reader": sum(opened.values()) - len(opened),
        }


def long_outage(folder: Path, *, capacity: int = 20_000, hours: int = 72) -> dict[str, Any]:
    """72 hours without a hub at a visitor every 10.4 s: 25,000 records into 20,000 places.

    In a network namespace of its own, where nothing else is on the wire, it also says what a
    record costs there: TLS, MQTT and acknowledgements included.

    The sensor's wall clock runs through these hours while the records are sealed (where there is
    a C compiler to make that clock), and stays ahead afterwards.
    """
    total = capacity + capacity // 4
    address = loopback()
    words = ("--hub", HUB, "--id-scope", ID_SCOPE)
    with running(folder / "hub", address, *words) as hub:
        rig = Rig(folder, hub, address, python=sys.executable, rate=1500, capacity=capacity)
        rig.allow(100)
        _until(lambda: rig.tally.look() == 100)
    try:
        mb_before = rig.supervisor().rss_mb
        rig.allow(total + 100)
        while (done := len(rig.tally.sealed())) < total + 100:
            rig.set_clock(hours * 3600 * done // total)
            time.sleep(0.2)
        rig.set_clock(hours * 3600)
        mb_full = rig.supervisor().rss_mb
        with running(folder / "hub", address, *words) as rig.hub:
            began, octets = time.monotonic(), wire_octets()
            _until(lambda: rig.tally.look() >= 100 + capacity)
            octets = wire_octets() - octets
            seconds = time.monotonic() - began
            rig.stop()
    finally:
        if rig.process.poll() is None:
            rig.kill()
    rig.tally.look()
    order, sealed = list(rig.tally.stored), rig.tally.sealed()
    return {
        "hours": hours,
        "hours_kept": round(rig.tally.span_s() / 3600, 1),
        "sealed": len(sealed),
        "capacity": capacity,
        "delivered": len(order),
        "dropped": len(set(sealed) - set(order)),
        "in_order": order == sorted(order),
        "supervisor_mb_before": mb_before,
        "supervisor_mb_full": mb_full,
        "drained_in_s": round(seconds, 1),
        "octets_for_each_on_the_wire": octets // capacity or None,
    }


def batch(folder: Path, devices: int = 200) -> dict[str, Any]:
    """`flow-provision` from a list to connected devices: the seconds for all of them."""
    address, ca, service = loopback(), str(folder / "ca"), str(folder / "hub" / "service.toml")
    words = ("--id-scope", ID_SCOPE, "--rest-port", "8443")
    with running(folder / "hub", address, *words) as hub:
        settings, listed = folder / "sensor.toml", folder / "devices.csv"
        settings.write_text(
            f'[hub]\nid_scope = "{ID_SCOPE}"\nprovisioning_host = "{address}"\n'
            f'trust = "{hub.trust}"\n'
        )
        rows = (f"unit-{number:03d},site-{number % 7},door" for number in range(devices))
        listed.write_text("device,site,profile\n" + "\n".join(rows) + "\n")
        began = time.monotonic()
        certificate = f"{ca}/batch.pem"
        _provision("init-ca", ca, "--batch", "batch")
        _provision("enroll", "--service", service, "--group", "batch", "--certificate", certificate)
        _provision(
            *("register", str(listed), "--ca", ca, "--batch", "batch"),
            *("--settings", str(settings), "--out", str(folder / "devices")),
        )
        seconds = time.monotonic() - began
        registered = len(hub.registrations())
    return {"devices": devices, "registered": registered, "seconds": round(seconds, 1)}


def _provision(*words: str) -> None:
    program = [sys.executable, "-m", "provisioning.cli", *words]
    subprocess.run(program, check=True, timeout=WITHIN_S)


def return_of_many(folder: Path | None = None, devices: int = 200) -> dict[str, Any]:
    """When do devices come back that lost one hub at one moment? Real pauses, counted time.

    Also writes faults-return.svg: devices in each ten seconds after the hub is back from 72 hours.

    Args:
        folder: where to; build/reports without.
    """
    folder = folder or REPORTS
    folder.mkdir(parents=True, exist_ok=True)
    random.seed(200)  # the same plot each time
    aways = {"1 min": 60.0, "10 min": 600.0, "72 h": 72 * 3600.0}
    arrivals = {name: _arrivals(devices, away_s) for name, away_s in aways.items()}
    (folder / "faults-return.svg").write_text(_bars(arrivals["72 h"]), encoding="utf-8")
    return {
        name: {
            "devices": devices,
            "most_in_one_second": max(Counter(map(int, back)).values()),
            "half_back_after_s": round(back[devices // 2]),
            "all_back_after_s": round(back[-1]),
            "back_in_each_minute": [sum(one // 60 == n for one in back) for n in range(10)],
        }
        for name, back in arrivals.items()
    }


def _arrivals(devices: int, away_s: float) -> list[float]:
    """Seconds after the hub's return at which each device's next attempt falls, sorted."""
    arrivals = []
    for _ in range(devices):
        backoff = Backoff(5.0, 300.0)
        now = 0.0
        while now < away_s:
            now += backoff.next_s()
        arrivals.append(now - away_s)
    return sorted(arrivals)


def _bars(arrivals: list[float]) -> str:
    """Bars of ten seconds each, as SVG."""
    counts = Counter(int(one // 10) for one in arrivals)
    tens = [counts[n] for n in range(max(counts) + 1)]
    high = max(tens)
    bars = "".join(
        f'<rect x="{40 + 10 * n}" y="{180 - 150 * count / high:.1f}" width="9" '
        f'height="{150 * count / high:.1f}" fill="#2a6f97"/>'
        for n, count in enumerate(tens)
    )
    wide = 60 + 10 * len(tens)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} 210" font-size="11" '
        f'font-family="sans-serif">{bars}<text x="8" y="34">{high}</text>'
        f'<text x="40" y="198">0</text><text x="{wide - 60}" y="198">{10 * len(tens)} s</text>'
        f'<text x="40" y="16">devices back in each ten seconds after the hub is</text></svg>\n'
    )


def _until(holds: Any) -> None:
    until = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > until:
            raise AssertionError("it did not become so")
        time.sleep(0.05)
