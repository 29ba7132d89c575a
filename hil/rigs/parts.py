"""What a rig must have, as labgrid has it: a protocol for each part, drivers that keep it.

Power is labgrid's own `PowerProtocol`; here `off` is always the plug being pulled.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware.errors import ConfigError
from hil.traces.needles import Index


def unable(ability: str) -> ConfigError:
    """What a part raises that was asked for more than it has."""
    return ConfigError(
        f"a driver of this rig cannot {ability}", remedy="say so in the rig's file, under `cannot`"
    )


@dataclass(frozen=True)
class Running:
    """One process of the sensor as it is now."""

    name: str
    rss_kb: int
    files: int
    threads: int


@dataclass(frozen=True)
class Offer:
    """An update bundle, the version that is asked for, and of what: `image` or `models`."""

    file: Path
    sha256: str
    version: str
    part: str = "image"


class BoardProtocol(abc.ABC):
    """The board: its storage, and what can be done to it besides its power.

    Attributes:
        makes: files that a board of this kind writes to the identity partition by itself.
    """

    makes: frozenset[str] = frozenset()

    @abc.abstractmethod
    def flash(self) -> None:
        """Write the software and an empty identity partition; only while it is off."""

    @abc.abstractmethod
    def request(self, device: str) -> bytes:
        """Let the running board make its key; → its certificate request, PEM."""

    @abc.abstractmethod
    def install(self, files: Mapping[str, bytes]) -> None:
        """Write files into the identity partition of the running board."""

    @abc.abstractmethod
    def settings(self) -> dict[str, dict[str, Any]]:
        """What the settings of a sensor on this board need beside those of cloud and camera."""

    @abc.abstractmethod
    def identity(self) -> dict[str, bytes]:
        """Every file of the identity partition; only while it is off."""

    @abc.abstractmethod
    def slots(self) -> dict[str, str]:
        """SHA-256 of each read-only part of the storage; only while it is off."""

    @abc.abstractmethod
    def search(self, needles: Index) -> int:
        """Needles met in all of the storage; only while it is off."""

    @abc.abstractmethod
    def image_mb(self) -> float:
        """Size of what `flash` writes, MiB."""

    @abc.abstractmethod
    def processes(self) -> list[Running]:
        """The sensor's processes now."""

    def exposure(self) -> dict[str, float]:
        """How much each unit of the sensor is exposed, as systemd sees it: 0 (not) … 10."""
        raise unable("units")

    def listening(self) -> list[str]:
        """Ports on which the running board waits for others."""
        raise unable("units")

    def set_clock(self, offset_s: int) -> None:
        """Let the board's clock be wrong by so much; 0: a time source sets it."""
        raise unable("set_clock")

    def offers(self) -> dict[str, Offer]:
        """The updates that a board of this kind can be offered (`build_scripts/offers.py`)."""
        raise unable("update")

    def heat(self, celsius: int, percent: int) -> None:
        """Let the board be so hot, and slow it down by so many per cent; 0: neither."""
        raise unable("heat")


class CameraProtocol(abc.ABC):
    """What the sensor looks at."""

    @abc.abstractmethod
    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings of a sensor with this camera."""

    @abc.abstractmethod
    def show(self, clip: Path) -> None:
        """Play a clip once from now on; before and after it, nobody is there."""

    def cue(self, clip: Path) -> None:
        """Have a clip ready while the board is off, and nothing else in view; it need not be played
        before `begin`."""
        self._cued = clip

    def begin(self) -> None:
        """The sensor counts: play what was cued, unless it plays already."""
        self.show(self._cued)

    def position_s(self) -> float | None:
        """How many seconds of the clip were shown, infinite behind its end; None: this camera
        cannot tell, and the clock must do."""
        return None

    def place(self, clip: Path) -> str:
        """Put a clip where the board can read it by itself; → its URI for the settings."""
        raise unable("soak")

    def unplug(self) -> None:
        """Take the camera away."""
        raise unable("unplug")

    def plug(self) -> None:
        """Put it back."""
        raise unable("unplug")


class NetworkProtocol(abc.ABC):
    """The way from the board to the cloud."""

    @abc.abstractmethod
    def down(self) -> None:
        """Nothing goes through any more."""

    @abc.abstractmethod
    def up(self) -> None:
        """Everything does again."""


class MachineProtocol(abc.ABC):
    """What of a machine its board has to know.

    Attributes:
        boots: how often it was switched on.
        powered: whether it is on.
    """

    boots: int
    powered: bool

    @abc.abstractmethod
    def set_clock(self, offset_s: int) -> None:
        """See `BoardProtocol.set_clock`."""


class StorageProtocol(abc.ABC):
    """The disk or card that a board starts from, while the board has no power."""

    @abc.abstractmethod
    def write_disk(self, image: Path) -> None:
        """Write a whole image to it."""

    @abc.abstractmethod
    def open_disk(self) -> Path:
        """The file or device node where this machine can read it."""
