"""Everything behind the listeners: hubs, provisioning, faults, capture, and what is on disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from hil.local_hub import state
from hil.local_hub.capture import Capture
from hil.local_hub.dps import Provisioning
from hil.local_hub.errors import ServiceError
from hil.local_hub.faults import Faults
from hil.local_hub.iot_hub import Device, IotHub, Telemetry


@dataclass(frozen=True, slots=True)
class Options:
    """How a hub is started. A hub whose name is an IP address is reached there directly."""

    host: str
    state: Path
    port: int = 8883
    websocket_port: int | None = None
    rest_port: int | None = None
    hubs: tuple[str, ...] = ()
    """Names of the hubs; empty: one that is named by `host`."""
    also: tuple[str, ...] = ()
    """What else devices may call this address, as behind a translation of addresses."""
    authorities: tuple[Path, ...] = ()
    """PEM files of authorities whose devices every hub accepts by their common name."""
    id_scope: str = "0ne00000000"
    seed: int = 0
    """Of the faults' probabilities."""
    retry_after_s: int = 1
    """What DPS asks a device to wait between two questions."""
    forget_sessions: bool = False
    """Start without the sessions that are on disk."""


class Cloud:
    """The hubs of one address with their provisioning service; no transport.

    Raises:
        ServiceError: an authority's file cannot be read.
    """

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        authorities = [one for path in options.authorities for one in _certificates(path)]
        names = options.hubs or (options.host,)
        self.hubs = {name: IotHub(name, authorities, clock) for name in names}
        self.provisioning = Provisioning(
            options.id_scope, self.hubs, clock, retry_after_s=options.retry_after_s
        )
        self.faults = Faults(options.seed)
        self.capture = Capture(options.state / "capture.jsonl")
        self.watchers: set[asyncio.Event] = set()
        """Set whenever a message was captured."""
        self._path = options.state / "hub.json"
        self._dirty = False
        state.load(self._path, self.hubs, self.provisioning)
        if options.forget_sessions:
            self.forget_sessions()

    def find(self, device: str) -> tuple[IotHub, Device]:
        """A device in whichever hub has it.

        Raises:
            ServiceError: 404.
        """
        for hub in self.hubs.values():
            if device in hub.devices:
                return hub, hub.devices[device]
        raise ServiceError(404, f"no device {device!r}", remedy="register or enrol it first")

    def trusted(self) -> set[x509.Certificate]:
        """What a client certificate may lead to: authorities and single registered devices."""
        found: set[x509.Certificate] = set()
        for hub in self.hubs.values():
            found.update(hub.authorities)
            for device in hub.devices.values():
                found.update(device.certificates)
        for enrolment in self.provisioning.enrolments.values():
            found.update(enrolment.certificates)
        return found

    def store(self, message: Telemetry) -> None:
        self.capture.write(message)
        for watcher in self.watchers:
            watcher.set()

    def forget_sessions(self) -> None:
        for hub in self.hubs.values():
            for device in hub.devices.values():
                device.subscriptions.clear()

    def changed(self) -> None:
        """Something that belongs on disk is different: `save` will write it."""
        self._dirty = True

    def save(self) -> None:
        if self._dirty:
            state.save(self._path, self.hubs, self.provisioning)
            self._dirty = False

    def close(self) -> None:
        self.save()
        self.capture.close()


def _certificates(path: Path) -> Iterable[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ServiceError(
            400,
            f"authority {path} cannot be read ({type(error).__name__})",
            remedy="name a PEM file with the certificate of a device authority",
        ) from error
