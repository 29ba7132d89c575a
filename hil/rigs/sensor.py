"""A board made of processes, from the moment it has power: `python -m hil.rigs.sensor BOARD`.

BOARD is the board's folder. As the units of an image do, it waits for an identity, and starts the
sensor again when it has ended: the real supervisor and uplink of the flashed slot, and the real
vision in front of the rig's camera.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

from firmware import health, launcher, messages, settings, ward
from firmware.errors import SensorError
from firmware.supervisor import Supervisor

CHECKOUT = Path(__file__).resolve().parents[2]
SYSFS = "ram/sys"
"""Where the kernel of this board tells temperatures and clock rates."""

AGAIN_S = 0.5
_MODULES = {
    "vision": "hil.rigs.screen",
    "uplink": "firmware.uplink",
    "update": "hil.rigs.updater",
}


def start(name: launcher.Name) -> launcher.Child:
    """Start a child as the launcher does, with the rig's preloads and, for vision, its camera."""
    variables = launcher.environment(name)
    variables["PYTHONPATH"] += f":{CHECKOUT}"
    preloads = [variables.get("LD_PRELOAD", ""), os.environ.get("LD_PRELOAD", "")]
    variables["LD_PRELOAD"] = ":".join(filter(None, preloads))
    variables |= {key: os.environ[key] for key in ("FLOW_CLOCK", "FLOW_BOARD") if key in os.environ}
    ours, theirs = messages.pair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULES[name], "--channel", str(theirs.fileno())],
            env=variables,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    return launcher.Child(process, ours)


def main() -> int:
    board = Path(sys.argv[1])
    ward.LONGEST_PAUSE_S = 4.0  # a scenario need not wait a minute for what is tried again
    if "--once" in sys.argv:
        return _run(board)
    while True:
        if (board / "identity" / "device.pem").exists():
            words = [sys.executable, "-m", "hil.rigs.sensor", str(board), "--once"]
            subprocess.run(words, check=False)
        time.sleep(AGAIN_S)


def _run(board: Path) -> int:
    sysfs = board / SYSFS
    health.temperatures_c = functools.partial(health.temperatures_c, sysfs / "thermal")
    health.throttled_percent = functools.partial(health.throttled_percent, sysfs / "cpufreq")
    current = settings.load(board / "identity" / "sensor.toml")
    Supervisor(
        current,
        device=settings.device_id(current.identity),
        recipient_key=settings.recipient_key(current.sealing),
        start=start,
    ).run()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SensorError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
