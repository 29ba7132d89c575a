"""The cloud of a rig: the local hub, an authority for its devices, a server of updates, and the
key's holder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory

from firmware import envelope
from firmware.device_trust import DeviceTrust
from firmware.errors import SealError
from firmware.reader import Opened, Reader
from firmware.recipient import PrivateKey, keygen
from firmware.record import Interaction
from firmware.uplink import identity
from hil import report
from hil.demo import pilot
from hil.local_hub import Event, ServiceError, running
from hil.local_hub.capture import event
from hil.rigs.bundles import BundleServer
from hil.rigs.parts import Offer
from provisioning.authority import DEVICE_DAYS, Authority
from provisioning.issued import Issued

RECIPIENT_FILE, TRUST_FILE, SETTINGS_FILE = "recipient.pub", "hub-roots.pem", "sensor.toml"
UPDATE_TRUST_FILE = "update-roots.pem"


@target_factory.reg_driver
@attr.s(eq=False)
class LocalCloud(Driver):
    """A hub on this machine with an enrolment group, and everything that opens what arrives there.

    Args:
        host: the hub's address; empty: a loopback address that hardly anybody else uses.
        seen_as: the address under which the board reaches it; empty: the same.
        health_every_s: how often a device speaks of itself.
    """

    host: str = attr.ib(default="")
    seen_as: str = attr.ib(default="")
    health_every_s: float = attr.ib(default=1.0)

    def on_activate(self) -> None:
        # The hub's control socket has a short path when it is relative, wherever the checkout is.
        self.folder = Path(os.path.relpath(report.ROOT / "build" / "hil" / f"cloud-{os.getpid()}"))
        shutil.rmtree(self.folder, ignore_errors=True)
        self._opened: list[Opened] = []
        self._said: list[tuple[float, dict[str, Any]]] = []
        self._read_to = 0
        self._envelopes: dict[tuple[str, int], set[bytes]] = defaultdict(set)
        self.refused: list[SealError] = []
        """What arrived and cannot be true."""
        with contextlib.ExitStack() as started:
            self._start(started)
            self._stack = started.pop_all()

    def _start(self, stack: contextlib.ExitStack) -> None:
        host = self.host or pilot.loopback()
        self.address = self.seen_as or host
        names = ["--also", self.address] if self.seen_as else []
        self.hub = stack.enter_context(running(self.folder / "hub", host, *names))
        root = Authority.root("Rig root")
        self.join(root.batch("Rig batch"), Issued(self.folder / "authority"))
        self._secret, self._public = keygen(self.folder / "recipient")
        state = self.hub.state
        self._bundles = BundleServer(host, state / "server.pem", state / "server.key")
        stack.callback(self._bundles.close)

    def on_deactivate(self) -> None:
        self._stack.close()

    def join(self, batch: Authority, issued: Issued, days: int = DEVICE_DAYS) -> None:
        """Let devices of this batch in, and sign the next ones with it."""
        self._batch, self._issued, self._days = batch, issued, days
        self.hub.enrol("rig", group=True, certificates=[batch.certificate])

    def issue(self, device: str, request: bytes) -> bytes:
        """Sign a device's request; → what belongs on it as `device.pem`."""
        certificate = self._batch.device(request, days=self._days, device=device)
        kept = self._issued.keep(device, certificate)
        trust = DeviceTrust.from_folder(kept.parent)
        self._reader = Reader([PrivateKey.load(self._secret)], trust)
        return certificate

    def files(
        self, device: str, request: bytes, directory: str, *more: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, bytes]:
        """All that a board needs on its identity partition.

        Args:
            directory: the partition's folder, as the board sees it.
            more: settings of its own.
        """
        tree: dict[str, dict[str, Any]] = {
            "sealing": {"recipient": f"{directory}/{RECIPIENT_FILE}"},
            "identity": {"directory": directory},
            "hub": {
                "id_scope": pilot.ID_SCOPE,
                "provisioning_host": self.address,
                "trust": f"{directory}/{TRUST_FILE}",
                "retry_s": 0.5,
                "retry_most_s": 2.0,
                "first_contact_s": 0.0,
                "gateway": self.seen_as,
            },
            "health": {"every_s": self.health_every_s},
        }
        for part in more:
            for section, values in part.items():
                tree[section] = {**tree.get(section, {}), **values}
        return {
            RECIPIENT_FILE: self._public.read_bytes(),
            TRUST_FILE: self.hub.trust.read_bytes(),
            UPDATE_TRUST_FILE: self.hub.trust.read_bytes(),
            SETTINGS_FILE: toml(tree).encode(),
            identity.ID_FILE: f"{device}\n".encode(),
            identity.CERTIFICATE_FILE: self.issue(device, request),
        }

    # ---- what has arrived ------------------------------------------------------------------------

    def opened(self, device: str) -> list[Opened]:
        """Every record of a device that the hub has stored, once and in order of arrival."""
        with self.hub.capture.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if line.endswith(b"\n"):
                    self._read_to += len(line)
                    self._take(event(json.loads(line)))
        return [one for one in self._opened if one.device == device]

    def _take(self, arrived: Event) -> None:
        reading = self._reader.read(arrived.body, arrived.device)
        self._opened += reading.records
        self._said += [
            (arrived.at, one.record) for one in reading.records if isinstance(one.record, dict)
        ]
        self.refused += reading.refused
        if arrived.properties.get("kind") == "records":
            for signed in envelope.unpack(arrived.body):
                sealed, _ = envelope.split_signature(signed)
                self._envelopes[arrived.device, envelope.split(sealed)[0].number].add(sealed)

    def said(self) -> list[tuple[float, dict[str, Any]]]:
        """Health records of all devices since the last call, with the time of their arrival."""
        taken, self._said = self._said, []
        return taken

    def reused(self) -> int:
        """Numbers under which a device has sent more than one record; the same one may come
        twice."""
        return sum(len(each) > 1 for each in self._envelopes.values())

    def interactions(self, device: str) -> dict[int, Interaction]:
        """Number → record."""
        return {
            one.number: one.record
            for one in self.opened(device)
            if isinstance(one.record, Interaction)
        }

    def health(self, device: str) -> list[dict[str, Any]]:
        """What the device has said about itself, oldest first."""
        return [one.record for one in self.opened(device) if isinstance(one.record, dict)]

    def health_of_all(self) -> list[dict[str, Any]]:
        """What devices have said about themselves, in order of arrival."""
        self.opened("")
        return [one.record for one in self._opened if isinstance(one.record, dict)]

    def connected(self, device: str) -> bool:
        return any(one["device"] == device and one["connected"] for one in self.hub.devices())

    def offer(self, device: str, offer: Offer) -> None:
        """Ask a device, by its twin, to update itself."""
        path = self._bundles.offer(offer.file)
        url = f"https://{self.address}:{self._bundles.port}{path}"
        asked = {"sha256": offer.sha256, "version": offer.version, "part": offer.part}
        self.hub.patch(device, {"update": {"url": url, **asked}})

    def reported(self, device: str) -> dict[str, Any]:
        """What the device says in its twin."""
        reported: dict[str, Any] = self.hub.twin(device)["reported"]
        return reported

    def mark(self, device: str) -> int:
        """The high-water mark of numbers in the device's twin."""
        try:
            return int(self.reported(device).get("numbers", 0))
        except ServiceError as error:
            if error.status != 404:  # it has not registered yet
                raise
            return 0


def toml(tree: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections of scalars as TOML: JSON's strings, numbers and booleans are TOML's too."""
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in values.items())
        for section, values in tree.items()
    )
