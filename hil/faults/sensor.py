"""The real supervisor and uplink over the stand-in source: `python -m hil.faults.sensor PLAN`.

PLAN is a JSON file. Times that no setting holds are compressed here (and in hil.faults.uplink) as
much as the settings are in hil.faults.rig, so that months of trouble fit into minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import msgspec

from firmware import deadline, launcher, messages, settings, ward
from firmware.supervisor import Supervisor

FIRST_PAUSE_S, LONGEST_PAUSE_S, SILENT_S = 0.05, 2.0, 2
"""Instead of 0.5 s, a minute and 15 s."""


class Plan(msgspec.Struct, frozen=True):
    """What a sensor of the campaign is made of.

    Attributes:
        settings: TOML-shaped tree.
        recipient: path of the recipient's key as the image brings it.
        python: interpreter that runs the uplink; it decides which SDK is used.
        names: host name → address.
        no_dns: names resolve unless this file exists.
        truth, rate, allowed: for the source.
    """

    settings: dict[str, object]
    device: str
    recipient: str
    python: str
    names: dict[str, str]
    no_dns: str
    truth: str
    rate: float
    allowed: str


def start(plan: Plan, name: launcher.Name, *, stderr: IO[bytes] | None = None) -> launcher.Child:
    """Start a child as the launcher does, but the rig's own programs."""
    source = ["--truth", plan.truth, "--rate", str(plan.rate), "--allowed", plan.allowed]
    resolver = ["--names", json.dumps(plan.names), "--no-dns", plan.no_dns]
    words = {
        "vision": [sys.executable, "-m", "hil.faults.source", *source],
        "uplink": [plan.python, "-m", "hil.faults.uplink", *resolver],
    }
    ours, theirs = messages.pair()
    with theirs:
        process = subprocess.Popen(
            [*words[name], "--channel", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    return launcher.Child(process, ours)


def main() -> int:
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    ward.FIRST_PAUSE_S, ward.LONGEST_PAUSE_S = FIRST_PAUSE_S, LONGEST_PAUSE_S
    deadline.UPLINK_S = SILENT_S
    return Supervisor(
        settings.check(plan.settings),
        device=plan.device,
        recipient_key=Path(plan.recipient).read_bytes(),
        start=lambda name: start(plan, name),
    ).run()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
