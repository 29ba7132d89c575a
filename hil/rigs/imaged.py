"""A board that starts from the product's image, and a camera that is a disk with a clip.

What needs the board's power off is done to its storage from outside; what needs it on, through a
shell, which only an image of the flavour `rig` has.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attr
import cv2
import numpy as np
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.protocol import CommandProtocol
from labgrid.resource import Resource

from firmware.vision import models
from hil import report
from hil.rigs import clips as rig_clips
from hil.rigs.parts import (
    BoardProtocol,
    CameraProtocol,
    MachineProtocol,
    Offer,
    Running,
    StorageProtocol,
)
from hil.traces.needles import Index

PARTITION = "/var/lib/flow-sensor"
_CHUNK = 1 << 22
_READY_S = 900.0
"""The longest that vision takes to load and test itself in an emulator on a busy machine."""
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
        """While it has power, 0 is what a time server would say."""
        if self.machine.set_clock(offset_s):
            self.run(f"date -s @{time.time():.0f}")
            self.run("mkdir -p /run/systemd/timesync && touch /run/systemd/timesync/synchronized")

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


@target_factory.reg_driver
@attr.s(eq=False)
class DiskCamera(Driver, CameraProtocol):
    """A clip on a second disk, which the sensor plays as fast as it can, in the clip's own time.

    Behind the scene comes a long time in which nobody is there. The disk also holds the models,
    with a detector of its own width. Each visitor's face is classified twice only.

    Args:
        every: only each so many-th frame of a clip is shown: an emulated processor needs a second
            and more for one.
        tail: frames without anybody behind a scene.
        detector_px: width of the detector's input.
        gap: frames without anybody between a scene that was cued and the same scene once more,
            until which the first one's records have arrived.
    """

    bindings = {  # noqa: RUF012 - labgrid reads it from the class
        "machine": "QemuMachine",
        "board": "ImageBoard",
        "cloud": "LocalCloud",
    }
    every: int = attr.ib(default=5)
    tail: int = attr.ib(default=6000)
    gap: int = attr.ib(default=2)
    detector_px: int = attr.ib(default=160)

    def on_activate(self) -> None:
        self.target.activate(self.machine)
        self._models = models_for(self.detector_px)
        self.target.activate(self.cloud)
        self._again: Path | None = None
        self._first = self._frames = self._heard = 0
        self._write()

    def settings(self) -> dict[str, dict[str, Any]]:
        return {
            "source": {"uri": "/media/scene/clip.mp4", "realtime": False},
            "detection": {"width_px": self.detector_px},
            "models": {"directory": "/media/scene/models"},
            "attributes": {"crops_per_track": 2},
        }

    def cue(self, clip: Path) -> None:
        """Twice, since a start of the sensor takes longer than most scenes."""
        self._write(clip, clip)
        self._again = clip
        self._first, self._frames = 0, self._length(clip)
        self._heard = len(self.cloud.health_of_all())

    def begin(self) -> None:
        """It plays since the sensor has been started."""

    def show(self, clip: Path) -> None:
        again, self._again = self._again, None
        if again == clip:  # it comes by itself
            self._first = self._frames
            return
        # Stopping the supervisor makes vision end, but does not wait until it has.
        self.board.run("systemctl stop flow-supervisor 'flow-vision@*'", timeout_s=120)
        self.board.run("systemctl stop media-scene.mount")
        self._write(clip)
        self.board.run("systemctl start --no-block media-scene.mount flow-supervisor")
        looks = self._looks()
        self._first, self._frames = 0, self._length(clip) if looks else 0
        self._heard = len(self.cloud.health_of_all())

    def _looks(self) -> bool:
        """Wait until the sensor looks; False when it will not, as long as nobody knows the time."""
        since = "$(systemctl show --value -p ActiveEnterTimestamp flow-supervisor)"
        said = f"journalctl -q -o cat -u 'flow-vision@*' --since \"{since}\""
        timed = "systemctl is-active --quiet time-sync.target"
        ready = f"{timed} && {said} | grep -q vision_ready && echo looks"
        words = f"until {ready} || {{ ! {timed} && echo waits; }}; do sleep 5; done"
        return "looks" in self.board.run(words, timeout_s=_READY_S)

    def position_s(self) -> float | None:
        """By the frames that the sensor says it has seen, which it cannot without a network."""
        if not self.machine.linked:
            return None
        said = self.cloud.health_of_all()[self._heard :]
        seen = said[-1]["frames"] - self._first if said else 0
        rate = rig_clips.FRAMES_PER_S / self.every
        return max(seen, 0) / rate if seen < self._frames else math.inf

    def _write(self, *clips: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="flow-rig-") as name:
            content, image = Path(name) / "content", Path(name) / "scene.img"
            content.mkdir()
            shutil.copyfile(self._drawn(clips), content / "clip.mp4")
            shutil.copytree(self._models, content / "models")
            words = ["mke2fs", "-q", "-t", "ext4", "-L", "scene", "-d", str(content), str(image)]
            subprocess.run([*words, "64M"], check=True, capture_output=True)
            if self.machine.scene.exists():
                with self.machine.scene.open("r+b") as scene:  # in place: the machine has it open
                    scene.write(image.read_bytes())
            else:
                shutil.copyfile(image, self.machine.scene)

    def _length(self, clip: Path) -> int:
        """Frames that are shown of a clip, with those until it comes again."""
        shown = cv2.VideoCapture(str(clip))
        frames = int(shown.get(cv2.CAP_PROP_FRAME_COUNT))
        shown.release()
        return -(-frames // self.every) + self.gap

    def _drawn(self, clips: Sequence[Path]) -> Path:
        """Some frames of each clip, then nobody."""
        name = "-".join([clip.stem for clip in clips] or ["nobody"])
        kept = rig_clips.FOLDER / f"{name}-{self.every}-{self.gap}-{self.tail}.mp4"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_name(f"partial-{os.getpid()}.mp4")
            thin(clips, partial, every=self.every, gap=self.gap, tail=self.tail)
            partial.replace(kept)
        return kept


def thin(clips: Sequence[Path], into: Path, *, every: int, gap: int, tail: int) -> None:
    """Draw what a `DiskCamera` shows of clips; see there."""
    size, rate = (rig_clips.WIDTH_PX, rig_clips.HEIGHT_PX), rig_clips.FRAMES_PER_S / every
    nobody = np.full((size[1], size[0], 3), 170, np.uint8)
    writer = cv2.VideoWriter(str(into), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    for clip in clips:
        shown = cv2.VideoCapture(str(clip))
        number = 0
        while shown.grab():
            if number % every == 0:
                writer.write(shown.retrieve()[1])
            number += 1
        shown.release()
        for _ in range(gap):
            writer.write(nobody)
    for _ in range(tail):
        writer.write(nobody)
    writer.release()


def models_for(detector_px: int) -> Path:
    """The product's models, the detector at this width; → their folder."""
    cache = report.ROOT / "build" / "hil" / f"models-{detector_px}"
    words = [sys.executable, "-m", "trt_engines", "convert", "--width", str(detector_px)]
    if not (cache / "models" / models.INDEX).exists():
        cache.mkdir(parents=True, exist_ok=True)
        sources = models.cache_directory() / "sources"
        shutil.copytree(sources, cache / "sources", dirs_exist_ok=True)
        environment = {**os.environ, "FLOW_SENSOR_CACHE": str(cache)}
        subprocess.run(words, env=environment, cwd=report.ROOT, check=True, capture_output=True)
    return cache / "models"
