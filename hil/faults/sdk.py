"""The interpreter that runs the uplink: ours, or one with another version of the vendor's SDK."""

from __future__ import annotations

import subprocess
import sys
import venv

from hil.report import ROOT


def interpreter(version: str) -> str:
    """A Python with azure-iot-device of that version, made below build/ when it is missing; our
    own for "".

    Raises:
        subprocess.CalledProcessError: the packages cannot be had.
    """
    if not version:
        return sys.executable
    folder = ROOT / "build" / f"sdk-{version}"
    python = folder / "bin" / "python"
    if not (folder / ".done").exists():
        venv.create(folder, with_pip=True, clear=True)
        packages = [f"azure-iot-device=={version}", "cryptography>=50", "msgspec>=0.19"]
        words = [str(python), "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(words, check=True, timeout=600)
        (folder / ".done").touch()
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
