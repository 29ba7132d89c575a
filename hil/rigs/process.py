"""The rig that is made of processes: everything on this machine, a boot in seconds.

The board is a folder: `slot` is what was flashed, `identity` the partition, `ram` what is gone
with the power. A power cut is SIGKILL for all three processes at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attr
import psutil  # type: ignore[import-untyped]
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.protocol import PowerProtocol

from firmware.uplink import identity
from firmware.vision import models, native
from hil import report
from hil.faults import rig as faults
from hil.rigs import offers, screen, sensor
from hil.rigs.parts import BoardProtocol, CameraProtocol, NetworkProtocol, Offer, Running
from hil.traces.needles import Index

_SLICE_S = 0.02
_NAMES = {"--once": "supervisor", "hil.rigs.screen": "vision", "firmware.uplink": "uplink"}
"""A word of a process's command line → which of the three it is."""


@target_factory.reg_driver
@attr.s(eq=False)
class ProcessBoard(Driver, PowerProtocol, BoardProtocol):
    """Board and power in one: the sensor's processes in a folder."""

    def on_activate(self) -> None:
        self.folder = report.ROOT / "build" / "hil" / f"board-{os.getpid()}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._sensor: psutil.Popen | None = None
        self._clock = self.folder / "clock"
        self._clock.write_bytes(bytes(8))
        self._shim = native.compiled(Path(faults.__file__).with_name("clock.c"))
        self._brake: _Brake | None = None

    def on_deactivate(self) -> None:
        self.off()

    # ---- power -----------------------------------------------------------------------------------

    def on(self) -> None:
        assert self._sensor is None
        ram = self.folder / "ram"
        for kind in ("thermal/thermal_zone0", "cpufreq/policy0"):
            (self.folder / sensor.SYSFS / kind).mkdir(parents=True)
        self.heat(45, 0)
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(ram),
            "TMPDIR": str(ram),
            "FLOW_SENSOR_CACHE": str(native.folder().parent),
            "PYTHONPATH": f"{self.folder / 'slot'}:{sensor.CHECKOUT}",
            "LD_PRELOAD": str(self._shim),
            "FLOW_CLOCK": str(self._clock),
            "FLOW_BOARD": str(self.folder),
        }
        with (self.folder / "console.log").open("ab") as log:
            self._sensor = psutil.Popen(
                [sys.executable, "-m", "hil.rigs.sensor", str(self.folder)],
                env=variables,
                cwd=ram,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def off(self) -> None:
        """Pull the plug: no process sees it coming."""
        if self._sensor is None:
            return
        self._release_brake()
        self._signal(signal.SIGSTOP)  # so that nobody starts anybody meanwhile
        family = self._signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)
        self._sensor = None
        shutil.rmtree(self.folder / "ram")

    def cycle(self) -> None:
        self.off()
        self.on()

    # ---- storage ---------------------------------------------------------------------------------

    def flash(self) -> None:
        assert self._sensor is None
        for name in ("slot", "identity", "models"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(
            sensor.CHECKOUT / "firmware",
            self.folder / "slot" / "firmware",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        source, target = models.directory(), self.folder / "slot" / "models"
        target.mkdir()
        for name in (models.INDEX, *(model.file for model in models.index(source).models)):
            shutil.copyfile(source / name, target / name)
        (self.folder / "slot" / "release.pub").write_text(offers.release())
        for name in ("identity", "models"):
            (self.folder / name).mkdir()
        self._flashed = self.slots()

    def request(self, device: str) -> bytes:
        return identity.request(self.folder / "identity", device)

    def install(self, files: Mapping[str, bytes]) -> None:
        for name in sorted(files, key=lambda name: name == identity.CERTIFICATE_FILE):
            draft = self.folder / f"{name}.new"  # the certificate comes last, and all at once
            draft.write_bytes(files[name])
            draft.replace(self.folder / "identity" / name)

    def settings(self) -> dict[str, dict[str, Any]]:
        return {
            "identity": {"directory": str(self.folder / "identity")},
            "models": {"directory": str(self.folder / "slot" / "models")},
        }

    def identity(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / "identity").iterdir()}

    def slots(self) -> dict[str, str]:
        digest = hashlib.sha256()
        for path in self._files("slot"):
            digest.update(str(path).encode() + b"\0" + path.read_bytes())
        return {"slot": digest.hexdigest()}

    def search(self, needles: Index) -> int:
        """All that the board has written or might have: also its console. What was flashed is
        looked at when it is another than then."""
        untouched = self._files("slot") if self.slots() == self._flashed else []
        return sum(
            sum(needles.search_bytes(path.read_bytes()).values())
            for path in sorted(set(self._files(".")).difference(untouched))
        )

    def image_mb(self) -> float:
        return round(sum(path.stat().st_size for path in self._files("slot")) / 2**20, 1)

    def offers(self) -> dict[str, Offer]:
        return offers.models()

    def _files(self, folder: str) -> list[Path]:
        return sorted(path for path in (self.folder / folder).rglob("*") if path.is_file())

    # ---- what runs, and under which conditions ---------------------------------------------------

    def processes(self) -> list[Running]:
        assert self._sensor is not None
        found = []
        for process in self._sensor.children(recursive=True):
            name = next((n for word, n in _NAMES.items() if word in process.cmdline()), "")
            if name:
                rss_kb = process.memory_info().rss // 1024
                found.append(Running(name, rss_kb, process.num_fds(), process.num_threads()))
        return found

    def _signal(self, number: int) -> list[psutil.Process]:
        """Send a signal to everything that runs on this board."""
        assert self._sensor is not None
        family = [self._sensor, *self._sensor.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return family

    def set_clock(self, offset_s: int) -> None:
        with self._clock.open("r+b") as file:
            file.write(struct.pack("q", offset_s))

    def heat(self, celsius: int, percent: int) -> None:
        """Heat is what the board's own kernel says; slowness is real: processes are held for
        that part of the time."""
        sysfs = self.folder / sensor.SYSFS
        (sysfs / "thermal/thermal_zone0/type").write_text("board\n")
        (sysfs / "thermal/thermal_zone0/temp").write_text(f"{celsius * 1000}\n")
        (sysfs / "cpufreq/policy0/cpuinfo_max_freq").write_text("1800000\n")
        (sysfs / "cpufreq/policy0/scaling_max_freq").write_text(f"{18000 * (100 - percent)}\n")
        self._release_brake()
        if percent:
            self._brake = _Brake(self._signal, percent / 100)

    def _release_brake(self) -> None:
        if self._brake:
            self._brake.release()
            self._brake = None


class _Brake(threading.Thread):
    """Holds processes for a part of the time, in slices. However late this thread itself is woken,
    they may then run for as long as makes it that part."""

    def __init__(self, signal_all: Callable[[int], object], part: float) -> None:
        super().__init__(daemon=True)
        self._signal, self._part = signal_all, part
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            self._signal(signal.SIGSTOP)
            self._ended.wait(_SLICE_S * self._part)
            self._signal(signal.SIGCONT)
            held_s = time.monotonic() - began
            self._ended.wait(held_s * (1 - self._part) / self._part)

    def release(self) -> None:
        self._ended.set()
        self.join()


@target_factory.reg_driver
@attr.s(eq=False)
class ScreenCamera(Driver, CameraProtocol):
    """A file in /dev/shm that vision takes for a camera's node; see `hil.rigs.screen`."""

    def on_activate(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="flow-rig-", dir="/dev/shm"))
        self._node = self._folder / "camera"
        screen.rewind(self._node)
        self.plug()

    def on_deactivate(self) -> None:
        shutil.rmtree(self._folder)

    def settings(self) -> dict[str, dict[str, Any]]:
        return {
            "source": {
                "uri": str(self._node),
                "width_px": 640,
                "height_px": 360,
                "frames_per_s": 12.5,
            }
        }

    def cue(self, clip: Path) -> None:
        super().cue(clip)
        self._write(screen.node(None))

    def show(self, clip: Path) -> None:
        shown = self._folder / clip.name  # vision may read nothing else than what is below /dev
        if not shown.exists():
            shutil.copyfile(clip, shown)
        screen.rewind(self._node)
        self._write(screen.node(shown, time.monotonic_ns()))

    def position_s(self) -> float:
        return screen.position_s(self._node)

    def place(self, clip: Path) -> str:
        return str(clip)  # anything that is not below /dev is played as a clip

    def unplug(self) -> None:
        self._node.unlink()

    def plug(self) -> None:
        self._write(screen.node(None))

    def _write(self, text: str) -> None:
        draft = self._node.with_suffix(".new")
        draft.write_text(text, "ascii")
        draft.replace(self._node)


@target_factory.reg_driver
@attr.s(eq=False)
class HubNetwork(Driver, NetworkProtocol):
    """The network as the hub can take it away: it resets connections and every new one."""

    bindings = {"cloud": "LocalCloud"}  # noqa: RUF012 - labgrid reads it from the class

    def down(self) -> None:
        for point in ("connect", "dps_connect"):
            self.cloud.hub.fault("abort", point)
        self.cloud.hub.kick()

    def up(self) -> None:
        self.cloud.hub.clear_faults()
