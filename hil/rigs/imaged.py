"""A board that starts from the product's image.

What needs the board's power off is done to its storage from outside; what needs it on, through a
shell, which only an image of the flavour `rig` has.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.protocol import CommandProtocol
from labgrid.resource import Resource

from hil import report
from hil.rigs.parts import (
    BoardProtocol,
    MachineProtocol,
    Offer,
    Running,
    StorageProtocol,
)
from hil.traces.needles import Index

PARTITION = "/var/lib/flow-sensor"
_CHUNK = 1 << 22
_LINE = 2000
"""Characters of a command on a serial console."""
_UNPACK = (
    "import base64, io, sys, tarfile; "
    "packed = io.BytesIO(base64.b64decode(sys.stdin.read())); "
    "tarfile.open(fileobj=packed).extractall(sys.argv[1])"
)
_TIME_FILE = "time-servers"
_PYTHON = "/opt/flow-sensor/bin/python"
_REQUEST = f"""
from pathlib import Path
from firmware.uplink import identity
print(identity.request(Path('{PARTITION}'), '{{device}}').decode())
"""


@target_factory.reg_resource
@attr.s(eq=False)
class Image(Resource):
    """What `python -m build_scripts image` has left.

    Args:
        folder: below the checkout.
    """

    folder: str = attr.ib()

    @property
    def path(self) -> Path:
        return report.ROOT / self.folder

    @property
    def manifest(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads((self.path / "manifest.json").read_text("utf-8"))
        return known


@target_factory.reg_driver
@attr.s(eq=False)
class ImageBoard(Driver, BoardProtocol):
    """Storage from outside, shell inside.

    Args:
        time_server: where it asks for the time; empty: where the image does.
    """

    bindings = {  # noqa: RUF012 - labgrid reads it from the class
        "image": "Image",
        "machine": MachineProtocol,
        "storage": StorageProtocol,
    }
    makes = frozenset({"machine-id", _TIME_FILE})
    time_server: str = attr.ib(default="")

    def on_activate(self) -> None:
        self._boot = 0

    # ---- storage ---------------------------------------------------------------------------------

    def flash(self) -> None:
        self.storage.write_disk(self.image.path / self.image.manifest["disk"])
        self._flashed = self.slots()

    def identity(self) -> dict[str, bytes]:
        """From a copy, after the journal was replayed, as the next boot would."""
        start, length = self._partition("identity")
        with tempfile.TemporaryDirectory(prefix="flow-rig-") as name:
            folder = Path(name)
            copy = folder / "identity.img"
            with self.storage.open_disk().open("rb") as disk:
                disk.seek(start)
                copy.write_bytes(disk.read(length))
            done = subprocess.run(["e2fsck", "-fy", copy], capture_output=True, check=False)
            assert done.returncode < 4, done.stdout
            words = ["debugfs", "-R", f"rdump / {folder}", str(copy)]
            subprocess.run(words, capture_output=True, check=True)
            shutil.rmtree(folder / "lost+found", ignore_errors=True)
            copy.unlink()
            return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def slots(self) -> dict[str, str]:
        found = {}
        with self.storage.open_disk().open("rb") as disk:
            for name in ("root_a", "root_b"):
                start, length = self._partition(name)
                digest = hashlib.sha256()
                disk.seek(start)
                while length:
                    part = disk.read(min(_CHUNK, length))
                    digest.update(part)
                    length -= len(part)
                found[name] = digest.hexdigest()
        return found

    def search(self, needles: Index) -> int:
        """All of the storage; of the slots, those that are not what was flashed."""
        same = {name for name, digest in self.slots().items() if digest == self._flashed[name]}
        hits, at = 0, 0
        path = self.storage.open_disk()
        with path.open("rb") as disk:
            for part in self.image.manifest["partitions"]:
                if part["name"] in same:
                    hits += self._search(disk.read(part["start"] - at), needles)
                    at = part["start"] + part["bytes"]
                    disk.seek(at)
            while rest := disk.read(_CHUNK):
                hits += self._search(rest, needles)
        return hits

    def _search(self, content: bytes, needles: Index) -> int:
        return sum(needles.search_bytes(content).values()) if content.strip(b"\0") else 0

    def image_mb(self) -> float:
        """Of the root file system with its hash tree, which is what an update carries too."""
        known = self.image.manifest
        return round(float(known["files"][known["root"]]["bytes"]) / 2**20, 1)

    def offers(self) -> dict[str, Offer]:
        self._boot = 0  # it may start anew by itself, and then wants another login
        folder = self.image.path / "offers"
        made = json.loads((folder / "offers.json").read_text("utf-8"))
        return {
            name: Offer(folder / each["file"], each["sha256"], each["version"])
            for name, each in made.items()
        }

    def _partition(self, name: str) -> tuple[int, int]:
        found = next(each for each in self.image.manifest["partitions"] if each["name"] == name)
        return found["start"], found["bytes"]

    # ---- shell -----------------------------------------------------------------------------------

    def request(self, device: str) -> bytes:
        script = base64.b64encode(_REQUEST.format(device=device).encode()).decode()
        lines = self.run(f"cd /opt/flow-sensor && echo {script} | base64 -d | {_PYTHON} -")
        return ("\n".join(lines).strip() + "\n").encode()

    def install(self, files: Mapping[str, bytes]) -> None:
        if self.time_server:
            files = {**files, _TIME_FILE: f"{self.time_server}\n".encode()}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:xz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        for part in textwrap.wrap(base64.b64encode(packed.getvalue()).decode(), _LINE):
            self.run(f"printf %s {part} >> /run/put")
        self.run(f"{_PYTHON} -c '{_UNPACK}' {PARTITION} < /run/put && rm /run/put && sync")
        self.run("systemctl restart flow-setup flow-supervisor", timeout_s=120)

    def settings(self) -> dict[str, dict[str, Any]]:
        return {"identity": {"directory": PARTITION}, "privacy": {"strict": True}}

    def processes(self) -> list[Running]:
        found = []
        for name in ("supervisor", "vision", "uplink"):
            words = (
                f"pid=$(pgrep -u flow-{name} -o python) && "
                "echo $(grep VmRSS /proc/$pid/status) $(ls /proc/$pid/fd | wc -l) "
                "$(ls /proc/$pid/task | wc -l)"
            )
            numbers = [int(each) for each in re.findall(r"\d+", " ".join(self.run(words)))]
            found.append(Running(name, *numbers[:3]))
        return found

    def exposure(self) -> dict[str, float]:
        found = {}
        for unit in ("flow-supervisor", "flow-vision@0", "flow-uplink@0"):
            said = " ".join(self.run(f"systemd-analyze security --no-pager {unit}.service"))
            found[unit.partition("@")[0]] = float(re.findall(r"level for .*?: ([\d.]+)", said)[-1])
        return found

    def listening(self) -> list[str]:
        return [line for line in self.run("ss -Hltn") if line.strip()]

    def set_clock(self, offset_s: int) -> None:
        self.machine.set_clock(offset_s)

    def heat(self, celsius: int, percent: int) -> None:
        """Hold its clock rate down; how hot it is, the board says itself."""
        del celsius
        self.run(
            "for each in /sys/devices/system/cpu/cpufreq/policy*; do "
            f"echo $(($(cat $each/cpuinfo_max_freq) * {100 - percent} / 100)) "
            "> $each/scaling_max_freq; done"
        )

    def run(self, words: str, timeout_s: float = 60.0) -> list[str]:
        """Run a command on the board; → its lines."""
        shell = self.target.get_driver(CommandProtocol, activate=False)
        if self._boot != self.machine.boots:  # another boot, another login
            self.target.deactivate(shell)
            self._boot = self.machine.boots
        self.target.activate(shell)
        lines: list[str] = shell.run_check(words, timeout=timeout_s)
        return lines
