"""A real board: a power port, a card that this machine can take away from it, its own network."""

from __future__ import annotations

import subprocess
from pathlib import Path

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.protocol import PowerProtocol

from hil.rigs.parts import CameraProtocol, MachineProtocol, NetworkProtocol, StorageProtocol


@target_factory.reg_driver
@attr.s(eq=False)
class CardMachine(Driver, PowerProtocol, StorageProtocol, MachineProtocol, NetworkProtocol):
    """Power port and SD multiplexer as one machine; the rig's own Ethernet port is its network.

    Args:
        interface: this machine's network interface that the board is plugged into.
        time_server: unit that serves time on it; a board without a clock of its own that cannot
            reach it is wrong.
    """

    bindings = {  # noqa: RUF012 - labgrid reads it from the class
        "port": {"NetworkPowerDriver", "USBPowerDriver"},
        "card": "USBSDMuxDriver",
        "writer": "USBStorageDriver",
    }
    interface: str = attr.ib()
    time_server: str = attr.ib(default="chrony.service")

    def on_activate(self) -> None:
        self.boots = 0
        self.powered = False

    def on(self) -> None:
        self.card.set_mode("dut")
        self.port.on()
        self.boots += 1
        self.powered = True

    def off(self) -> None:
        self.port.off()
        self.powered = False

    def cycle(self) -> None:
        self.off()
        self.on()

    def write_disk(self, image: Path) -> None:
        self.card.set_mode("host")
        self.target.activate(self.writer)
        self.writer.write_image(str(image))

    def open_disk(self) -> Path:
        assert not self.powered
        self.card.set_mode("host")
        self.target.activate(self.writer)
        return Path(self.writer.storage.path)

    def set_clock(self, offset_s: int) -> None:
        """A wrong clock is one that nobody sets: how wrong it is, the board decides."""
        _run("systemctl", "stop" if offset_s else "start", self.time_server)

    def down(self) -> None:
        _run("ip", "link", "set", self.interface, "down")

    def up(self) -> None:
        _run("ip", "link", "set", self.interface, "up")


@target_factory.reg_driver
@attr.s(eq=False)
class MonitorCamera(Driver, CameraProtocol):
    """A monitor in front of the camera, or an HDMI-to-CSI adapter behind this machine's output.

    Args:
        uri: the camera, as the board sees it.
        player: command that plays a clip once, full-screen, and then shows nothing but grey.
    """

    uri: str = attr.ib(default="/dev/video0")
    player: str = attr.ib(default="mpv --fs --really-quiet --no-audio --background-color=#aaaaaa")

    def on_activate(self) -> None:
        self._playing: subprocess.Popen[bytes] | None = None

    def on_deactivate(self) -> None:
        self._stop()

    def settings(self) -> dict[str, dict[str, object]]:
        return {"source": {"uri": self.uri}}

    def cue(self, clip: Path) -> None:
        super().cue(clip)
        self._stop()

    def show(self, clip: Path) -> None:
        self._stop()
        self._playing = subprocess.Popen([*self.player.split(), str(clip)])

    def unplug(self) -> None:
        self._hub().off()

    def plug(self) -> None:
        self._hub().on()

    def _hub(self) -> PowerProtocol:
        """The switched port of the USB hub that the camera is plugged into."""
        return self.target.get_driver("USBPowerDriver", name="camera")

    def _stop(self) -> None:
        if self._playing:
            self._playing.terminate()
            self._playing.wait()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=30)
