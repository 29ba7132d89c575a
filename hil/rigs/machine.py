"""A QEMU machine with the product's image: power, serial console, disk, network and clock."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import attr
from labgrid.driver import Driver
from labgrid.driver.consoleexpectmixin import ConsoleExpectMixin
from labgrid.factory import target_factory
from labgrid.protocol import ConsoleProtocol, PowerProtocol
from pexpect import TIMEOUT  # type: ignore[import-untyped]

from hil import report
from hil.rigs.parts import MachineProtocol, NetworkProtocol, StorageProtocol
from hil.rigs.time_server import TimeServer

_HOST = "127.0.0.1"
"""This machine, which the emulated one meets under another address."""
_START_S = 10.0
_CHUNK = 4096


@target_factory.reg_driver
@attr.s(eq=False)
class QemuMachine(
    ConsoleExpectMixin,
    Driver,
    PowerProtocol,
    ConsoleProtocol,
    StorageProtocol,
    NetworkProtocol,
    MachineProtocol,
):
    """The machine. `off` is SIGKILL for QEMU: what it has not written to its disk is not there.

    Attributes:
        scene: raw disk that it gets beside its own.
    """

    bindings = {"image": "Image"}  # noqa: RUF012 - labgrid reads it from the class
    txdelay: float = attr.ib(default=0.0)
    txchunk: int = attr.ib(default=1)

    def on_activate(self) -> None:
        self.folder = report.ROOT / "build" / "hil" / f"machine-{os.getpid()}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk, self.scene = self.folder / "disk.img", self.folder / "scene.img"
        self._sockets = Path(tempfile.mkdtemp(prefix="flow-rig-"))
        self._qemu: subprocess.Popen[bytes] | None = None
        self._serial: socket.socket | None = None
        self._console: _Console
        self._clock_offset_s = 0
        self._time: TimeServer | None = None
        self.boots = 0
        self.linked = True
        self.powered = False

    def on_deactivate(self) -> None:
        self.off()
        shutil.rmtree(self._sockets)

    def resolve_conflicts(self, client: Driver) -> None:
        """Let board and camera stay as they are when a shell is opened: they have this machine, but
        do not speak on its console, which labgrid grants to one at a time."""

    # ---- power -----------------------------------------------------------------------------------

    def on(self) -> None:
        assert self._qemu is None
        self.boots += 1
        self.powered = True
        serial, monitor = self._sockets / "serial", self._sockets / "monitor"
        with socket.socket(socket.AF_UNIX) as listener:
            serial.unlink(missing_ok=True)
            listener.bind(str(serial))
            listener.listen(1)
            listener.settimeout(_START_S)
            with (self.folder / "qemu.log").open("ab") as log:
                self._qemu = subprocess.Popen(
                    self._words(serial, monitor), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._serial, _ = listener.accept()
        self._console = _Console(self._serial)

    def _words(self, serial: Path, monitor: Path) -> list[str]:
        known = self.image.manifest
        clock = [] if self._clock_offset_s else ["flow.clock=rtc"]
        now = datetime.datetime.now(datetime.timezone.utc)
        said = self.folder / "console.log"
        base = now + datetime.timedelta(seconds=self._clock_offset_s)
        return [
            *known["qemu"],
            *("-display", "none", "-rtc", f"base={base:%Y-%m-%dT%H:%M:%S}"),
            *("-kernel", str(self.image.path / known["kernel"])),
            *("-initrd", str(self.image.path / known["initramfs"])),
            *("-append", " ".join([known["command_line"], *clock])),
            *("-drive", f"if=virtio,format=raw,file={self.disk}"),
            *("-drive", f"if=virtio,format=raw,readonly=on,file.locking=off,file={self.scene}"),
            *("-nic", "user,model=virtio-net-pci,id=net0"),
            *("-chardev", f"socket,id=console,path={serial},logappend=on,logfile={said}"),
            *("-serial", "chardev:console", "-qmp", f"unix:{monitor},server=on,wait=off"),
        ]

    def off(self) -> None:
        """Pull the plug."""
        if self._qemu is None:
            return
        self._qemu.send_signal(signal.SIGKILL)
        self._qemu.wait()
        self._qemu = None
        self.powered = False
        self._stop_time()
        if self._serial:
            self._serial.close()

    def cycle(self) -> None:
        self.off()
        self.on()

    def set_clock(self, offset_s: int) -> None:
        """From the next start on, the machine's own clock is so wrong, and nobody vouches for it;
        0: it is right, and is taken for a time source. A machine that is on then finds a server."""
        self._clock_offset_s = offset_s
        self._stop_time()
        if self.powered and not offset_s:
            self._time = TimeServer(_HOST)

    def _stop_time(self) -> None:
        if self._time:
            self._time.close()
            self._time = None

    # ---- network: what QEMU is told --------------------------------------------------------------

    def down(self) -> None:
        self.linked = False
        self._tell("set_link", name="net0", up=False)

    def up(self) -> None:
        self.linked = True
        if self._qemu is not None:
            self._tell("set_link", name="net0", up=True)

    def _tell(self, command: str, **arguments: object) -> None:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(_START_S)
            channel.connect(str(self._sockets / "monitor"))
            lines = channel.makefile("rw")
            lines.readline()
            for name, given in (("qmp_capabilities", {}), (command, arguments)):
                words = {"execute": name, "arguments": given}
                lines.write(json.dumps(words) + "\n")
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    assert "error" not in answer, answer

    # ---- storage ---------------------------------------------------------------------------------

    def write_disk(self, image: Path) -> None:
        subprocess.run(["cp", "--sparse=always", image, self.disk], check=True)

    def open_disk(self) -> Path:
        assert self._qemu is None
        return self.disk

    # ---- console ---------------------------------------------------------------------------------

    def _read(self, size: int = 1, timeout: float = 10, max_size: int | None = None) -> bytes:
        del size
        said = self._console.take(timeout, max_size or _CHUNK)
        if not said:
            raise TIMEOUT(f"nothing on the console for {timeout:.2f} seconds")
        return said

    def _write(self, data: bytes) -> int:
        assert self._serial
        self._serial.sendall(data)
        return len(data)


class _Console(threading.Thread):
    """Takes what the machine says as it says it. A socket holds a few hundred of its characters,
    and a machine that cannot get rid of one stands still until it can."""

    def __init__(self, serial: socket.socket) -> None:
        super().__init__(daemon=True)
        self._serial = serial
        self._said = bytearray()
        self._news = threading.Condition()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):  # it was switched off
            while part := self._serial.recv(_CHUNK):
                with self._news:
                    self._said += part
                    self._news.notify()

    def take(self, within_s: float, most: int) -> bytes:
        """What was not taken yet; empty when nothing is said in time."""
        with self._news:
            self._news.wait_for(lambda: self._said, within_s)
            taken = bytes(self._said[:most])
            del self._said[:most]
        return taken
