"""The interpreter that runs the uplink: ours, or one with another version of the vendor's SDK."""

from __future__ import annotations

import subprocess
import sys
import venv

from hil.report import ROOT

OTHER = "2.14.0"
"""The newest release that is not a candidate; locked in requirements/sdk-2.14.0.txt."""


def interpreter(version: str) -> str:
    """A Python with azure-iot-device of that version, made below build/ from its locked
    requirements when it is missing; our own for "".

    Raises:
        subprocess.CalledProcessError: the packages cannot be had.
    """
    if not version:
        return sys.executable
    locked = ROOT / "requirements" / f"sdk-{version}.txt"
    folder = ROOT / "build" / f"sdk-{version}"
    python, mark = folder / "bin" / "python", folder / ".installed"
    content = locked.read_text("utf-8")
    if not mark.exists() or mark.read_text("utf-8") != content:
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*install, "-r", str(locked)], check=True, timeout=600)
        mark.write_text(content, "utf-8")
    return str(python)


def version(python: str) -> str:
    """`azure-iot-device 2.15.0rc1, paho-mqtt 2.1.0`."""
    script = (
        "from importlib.metadata import version as v;"
        "print(f\"azure-iot-device {v('azure-iot-device')}, paho-mqtt {v('paho-mqtt')}\")"
    )
    words = [python, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()
