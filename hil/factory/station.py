"""A station: the steps from a bare board to a sensor that can be shipped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from firmware import __version__
from firmware.errors import SensorError
from hil.factory.label import label
from hil.factory.unit import Unit
from hil.rigs.strategy import RigError, SensorStrategy
from provisioning.authority import Authority
from provisioning.issued import Issued


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        batch: the authority that signs these units.
        site: files for the identity partition in place of the station's own.
        notice: address of the site's public notice.
        out: folder for records and labels.
    """

    batch: Authority
    issued: Issued
    days: int
    site: Mapping[str, bytes]
    notice: str
    out: Path


class Station:
    """Makes units on a rig, one after another."""

    def __init__(self, rig: SensorStrategy, order: Order) -> None:
        self._rig, self._order = rig, order
        rig.activate()
        rig.cloud.join(order.batch, order.issued, order.days)

    def make(self, device: str) -> Unit:
        """One unit. What goes wrong with it stands in its record, and the next one is made.

        Raises:
            ConfigError: the record cannot be written.
        """
        unit = Unit(device)
        try:
            self._make(unit)
            unit.why = ""
        except (SensorError, AssertionError) as error:
            unit.why = str(error).partition("\n")[0]
            self._order.issued.revoke(device)
        finally:
            self._rig.transition("off")
            unit.write(self._order.out)
        return unit

    def _make(self, unit: Unit) -> None:
        rig, order = self._rig, self._order
        with _timed(unit, "flash"):
            rig.transition("flashed")
        with _timed(unit, "boot"):
            rig.transition("booted")
        with _timed(unit, "identity"):
            rig.name_next(unit.device)
            rig.transition("provisioned")
            unit.certificate = _certificate(rig.installed["device.pem"])
        with _timed(unit, "self-test"):
            rig.transition("counting")
            unit.health = self._tested()
        with _timed(unit, "finish"):
            rig.board.install(order.site)
            rig.transition("off")
            unit.slots = rig.board.slots()
            left = rig.board.identity()
            wrong = [name for name, content in order.site.items() if left.get(name) != content]
            if wrong:
                raise RigError(f"{wrong[0]} is not on the unit", remedy="make it again")
            order.out.mkdir(parents=True, exist_ok=True)
            drawn = label(unit.device, order.notice, __version__)
            (order.out / f"{unit.device}.svg").write_text(drawn, "utf-8")

    def _tested(self) -> dict[str, object]:
        """The unit keeps every promise that it can check itself, and counts one visitor."""
        rig = self._rig
        status, _ = rig.cloud.hub.call(rig.device, "selftest")
        if status >= 300:
            raise RigError(f"it refuses its self-test ({status})", remedy="read its console")
        said = rig.health(lambda said: said["selftest"] != "none", "it has tested itself")
        if said["selftest"] != "passed" or said["guarantees_missing"]:
            raise RigError(
                f"its self-test {said['selftest']}; missing: {said['guarantees_missing']}",
                remedy="do not ship it; run `flow-sensor doctor` on it",
            )
        _, counted = rig.count("stops")
        if counted != 1:
            raise RigError(
                f"it counted {counted} visitors of 1", remedy="check camera, lens and focus"
            )
        return said


@contextmanager
def _timed(unit: Unit, step: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        unit.seconds[step] = round(time.monotonic() - began, 1)


def _certificate(pem: bytes) -> dict[str, str]:
    own = x509.load_pem_x509_certificates(pem)[0]
    return {"sha256": own.fingerprint(hashes.SHA256()).hex(), "serial": f"{own.serial_number:x}"}
