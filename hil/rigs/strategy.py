"""The one strategy: which states a sensor on a rig can be in, and how it gets there.

off → flashed → booted → provisioned → counting → offline. Each state holds what the ones before it
brought; `off` keeps what is flashed and provisioned, as a board without power does.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import attr
from labgrid.factory import target_factory
from labgrid.step import step
from labgrid.strategy.common import Strategy

from firmware.errors import SensorError
from firmware.record import Interaction
from hil.rigs import clips
from hil.rigs.parts import BoardProtocol, CameraProtocol, NetworkProtocol, Offer
from hil.scenes.script import Script

T = TypeVar("T")
Said: TypeAlias = dict[str, Any]
"""A health record."""


class RigError(SensorError):
    """The rig, or the sensor on it, did not do what it was brought to do."""

    exit_code = 1


class Status(enum.Enum):
    unknown = 0
    off = 1
    flashed = 2
    booted = 3
    provisioned = 4
    counting = 5
    offline = 6


@target_factory.reg_driver
@attr.s(eq=False)
class SensorStrategy(Strategy):
    """Brings the sensor into a state, and tells what came of it at the hub.

    Args:
        title: what the rig is, for people.
        patience_s: the longest that this rig takes for one step.
        settle_s: the longest that a visitor's record takes from his last frame to the hub.
        slower: how many seconds a second of a scene takes before this rig's camera.
        soak_visitor_s: the longest that a visitor of a soak takes, on average.
        cannot: ability → why this rig does not have it.
    """

    bindings = {  # noqa: RUF012 - labgrid reads it from the class
        "power": "PowerProtocol",
        "board": BoardProtocol,
        "camera": CameraProtocol,
        "network": NetworkProtocol,
        "cloud": "LocalCloud",
    }
    title: str = attr.ib(default="")
    patience_s: float = attr.ib(default=60.0)
    settle_s: float = attr.ib(default=4.0)
    slower: float = attr.ib(default=1.0)
    soak_visitor_s: float = attr.ib(default=0.5)
    cannot: dict[str, str] = attr.ib(factory=dict)
    status: Status = attr.ib(default=Status.unknown)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.device = ""
        self.special: dict[str, dict[str, Any]] = {}
        """Settings beside the rig's own, for the next device that is provisioned."""
        self.installed: dict[str, bytes] = {}
        """What provisioning wrote to the identity partition."""
        self._made = 0
        self._next_name = ""
        self._flashed = self._provisioned = False
        self._powered_at = 0.0
        self._heard = 0  # health records of this device when it was switched on

    @step(args=["status"])
    def transition(self, status: Status | str) -> None:
        """Go there, through every state in between that is still missing.

        Raises:
            RigError: the sensor does not get there in time.
        """
        wanted = Status[status] if isinstance(status, str) else status
        self.activate()
        if wanted is Status.off:
            self.cut_power()
        elif wanted is Status.flashed or not self._flashed:
            self.cut_power()
            self._flash()
        for number in range(self.status.value + 1, wanted.value + 1):
            self._step(Status(number))
        if self.status is Status.offline and wanted is not Status.offline:
            self.network.up()
            self.status = Status.provisioned
            self._step(Status.counting)

    def activate(self) -> None:
        """Switch on what the rig consists of, besides the board itself."""
        for part in (self.cloud, self.power, self.board, self.camera, self.network):
            self.target.activate(part)

    def name_next(self, device: str) -> None:
        """What the next device that is provisioned shall be called, instead of `rig-0001`, …"""
        self._next_name = device

    def _step(self, to: Status) -> None:
        match to:
            case Status.booted:
                self._heard = len(self.cloud.health(self.device)) if self._provisioned else 0
                self._powered_at = time.monotonic()
                self.power.on()
            case Status.provisioned if not self._provisioned:
                self._provision()
            case Status.counting:
                self.wait(self._counts, "the sensor counts")
            case Status.offline:
                self.network.down()
        self.status = to

    @step()
    def cut_power(self) -> None:
        """Pull the plug, whatever the sensor is doing."""
        self.power.off()
        self.status = Status.flashed if self._flashed else Status.off

    def _flash(self) -> None:
        self.board.flash()
        self.network.up()
        self._flashed, self._provisioned = True, False
        self.status = Status.flashed

    def _provision(self) -> None:
        self._made += 1
        self.device = self._next_name or f"rig-{self._made:04}"
        self._next_name = ""
        self._heard = 0
        request = self.board.request(self.device)
        own, eyes = self.board.settings(), self.camera.settings()
        directory = own["identity"]["directory"]
        files = self.cloud.files(self.device, request, directory, own, eyes, self.special)
        self.board.install(files)
        self.installed = dict(files)
        self._provisioned = True

    def _counts(self) -> bool:
        """It is connected, and since it has power it has said that it sees frames."""
        said = self.cloud.health(self.device)[self._heard :]
        return self.cloud.connected(self.device) and any(one["frames"] for one in said)

    # ---- for scenarios ---------------------------------------------------------------------------

    @property
    def powered_s(self) -> float:
        """Seconds since the sensor has power."""
        return time.monotonic() - self._powered_at

    def wait(self, until: Callable[[], T], what: str, within_s: float | None = None) -> T:
        """Wait until something holds; → what it gave.

        Raises:
            RigError: it did not, in time.
        """
        ends = time.monotonic() + (within_s or self.patience_s)
        while not (found := until()):
            if time.monotonic() > ends:
                raise RigError(
                    f"it did not come to this on the rig: {what}",
                    remedy="read the board's console (build/hil) and the hub's log",
                )
            time.sleep(0.05)
        return found

    def interactions(self) -> dict[int, Interaction]:
        """Number → record of each visitor whom the hub has from this device."""
        found: dict[int, Interaction] = self.cloud.interactions(self.device)
        return found

    def arrived(self, count: int, within_s: float | None = None) -> dict[int, Interaction]:
        """Wait until the hub has so many visitors of this device; → all of them."""
        what = f"{count} records arrive"
        self.wait(lambda: len(self.interactions()) >= count, what, within_s)
        return self.interactions()

    def count(self, name: str) -> tuple[Script, int]:
        """Show a scene; → it, and how many records have come of it."""
        scene, clip = clips.clip(name)
        self.camera.show(clip)
        before = len(self.interactions())  # with whom the change of scenes has cut off
        self.passed(scene.seconds)
        self.health(
            lambda said: said["visitors_now"] == 0 and said["waiting"] == 0, "all records arrive"
        )
        return scene, len(self.interactions()) - before

    def health(self, said: Callable[[Said], bool], what: str) -> Said:
        """Wait until the device says something about itself from now on; → the record."""
        before = len(self.cloud.health(self.device))

        def newest() -> Said | None:
            fresh: list[Said] = self.cloud.health(self.device)[before:]
            return next(filter(said, fresh), None)

        found = self.wait(newest, what)
        assert found
        return found

    def image(self) -> str:
        """The version that runs, as the device says."""
        return str(self.cloud.reported(self.device)["image"])

    def update(self, name: str) -> Offer:
        """Offer the device an update; → which."""
        offer: Offer = self.board.offers()[name]
        self.cloud.offer(self.device, offer)
        return offer

    def update_came_to(self, state: str, offer: Offer) -> Said:
        """Wait until the device says so of this update; → all that it says of it."""

        def said() -> Said | None:
            update: Said = self.cloud.reported(self.device).get("update") or {}
            told = update.get("state"), update.get("version")
            return update if told == (state, offer.version) else None

        found = self.wait(said, f"the update is {state}")
        assert found
        return found

    def passed(self, seconds: float) -> None:
        """Let so much of a scene pass, and the time in which its last records arrive."""
        self.reach(seconds)
        time.sleep(self.settle_s)

    def reach(self, seconds: float) -> None:
        """Wait until so much of the clip was shown."""
        if self.camera.position_s() is None:
            time.sleep(seconds * self.slower)
        else:
            longest_s = self.patience_s + 10 * seconds
            self.wait(lambda: self.camera.position_s() >= seconds, "the clip is shown", longest_s)

    def restore(self) -> None:
        """Take back what a scenario has done to the conditions; the sensor stays as it is."""
        self.special = {}
        if self.status is Status.offline:
            self.transition(Status.counting)
