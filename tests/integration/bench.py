"""A bench for the uplink: a real process, the real SDK, TLS, and a hub on this machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509

from firmware import envelope, messages, record, sealing
from firmware.uplink import identity
from hil.local_hub import Service, events, running
from provisioning.authority import Authority
from tests import keys

PATIENCE_S = 30.0
ID_SCOPE = "0ne0000test"

M = TypeVar("M", bound=messages.Message)
_counter = itertools.count(1)


def loopback() -> str:
    """An address that no other test of this or another test process has at this time."""
    pid = os.getpid()
    return f"127.{64 + pid % 64}.{pid // 64 % 256}.{next(_counter) % 254 + 1}"


@dataclass
class Device:
    """A provisioned device's files and settings, with what the hub has of it."""

    name: str
    directory: Path
    settings: dict[str, Any]
    capture: Path
    recipient_key: bytes = keys.private_key().public_bytes()

    @property
    def certificate(self) -> x509.Certificate:
        path = self.directory / identity.CERTIFICATE_FILE
        return x509.load_pem_x509_certificates(path.read_bytes())[0]

    def sealed(self, *numbers: int) -> list[messages.Deliver]:
        """Interactions sealed under these numbers, as vision would send them."""
        interaction = record.Interaction(start_utc_s=0, dwell_ms=1000)
        return [
            messages.Deliver(
                number,
                sealing.seal(
                    interaction, number=number, device=self.name, recipient=keys.recipient()
                ),
            )
            for number in numbers
        ]

    def stored(self, kind: str = "records") -> list[tuple[str, list[int]]]:
        """The hub's messages from this device in its order: message id, numbers in it."""
        return [
            (
                one.message_id,
                [envelope.split(signed)[0].number for signed in envelope.unpack(one.body)],
            )
            for one in events(self.capture)
            if one.device == self.name and one.properties["kind"] == kind
        ]

    def numbers(self) -> list[int]:
        """The numbers of all interactions that the hub has stored, in its order."""
        return [number for _, numbers in self.stored() for number in numbers]


@dataclass
class Bench:
    """A hub and the authority whose devices it accepts."""

    hub: Service
    host: str
    folder: Path
    root: Authority
    batch: Authority

    def device(self, **hub_settings: Any) -> Device:
        """A new device with its own certificate, in the hub's registry."""
        made = self.stranger(**hub_settings)
        self.hub.register(made.name, certificates=[made.certificate])
        return made

    def stranger(self, *, days: int = 90, **hub_settings: Any) -> Device:
        """A device with a certificate, of which the hub does not know yet."""
        name = f"sensor-{next(_counter)}"
        directory = self.folder / name
        request = identity.request(directory, name)
        (directory / identity.CERTIFICATE_FILE).write_bytes(self.batch.device(request, days=days))
        hub = {
            "host": self.host,
            "trust": str(self.hub.trust),
            "acknowledge_s": 10.0,
            "retry_s": 0.05,
            "retry_most_s": 0.5,
            "first_contact_s": 0.0,
            **hub_settings,
        }
        settings = {"identity": {"directory": str(directory)}, "hub": hub}
        return Device(name, directory, settings, self.hub.capture)

    def by_registration(self) -> dict[str, Any]:
        """Settings of a device that asks the registration service for its hub."""
        return {"host": "", "id_scope": ID_SCOPE, "provisioning_host": self.host}


@contextlib.contextmanager
def bench(folder: Path, *options: str) -> Iterator[Bench]:
    """Start a hub with an address of its own; `options` are further words for it."""
    host = loopback()
    root = Authority.root("Test root")
    with running(folder / "hub", host, "--id-scope", ID_SCOPE, *options) as hub:
        yield Bench(hub, host, folder, root, root.batch("Test batch"))


@dataclass
class Uplink:
    """A running uplink process, with this test as its supervisor."""

    process: subprocess.Popen[str]
    channel: socket.socket
    heard: list[messages.AnyMessage] = field(default_factory=list)

    def send(self, *said: messages.AnyMessage) -> None:
        for message in said:
            messages.send(self.channel, message)

    def wait_for(self, kind: type[M], accept: Callable[[M], bool] = lambda _: True) -> M:
        """The next message of that kind, counted from the last one waited for."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            while self.heard:
                message = self.heard.pop(0)
                if isinstance(message, kind) and accept(message):
                    return message
            if not self._listen(until):
                break
        raise AssertionError(f"no {kind.__name__} came; the uplink wrote: {self.words()}")

    def delivered(self, *numbers: int) -> None:
        """Wait until all of these are acknowledged."""
        missing = set(numbers)
        while missing:
            missing -= set(self.wait_for(messages.Delivered).numbers)

    def stopped(self) -> int:
        """Ask it to stop; returns its exit status."""
        self.send(messages.Stop())
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; returns its exit status."""
        return self.process.wait(PATIENCE_S)

    def words(self) -> str:
        """All that it wrote; ends it first."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr
        return self.process.stderr.read()

    def _listen(self, until: float) -> bool:
        if select.select([self.channel], [], [], max(0.0, until - time.monotonic()))[0]:
            message = messages.receive(self.channel)
            if message is None:
                return False
            self.heard.append(message)
        return True


@contextlib.contextmanager
def uplink(device: Device, *program: str) -> Iterator[Uplink]:
    """Start the uplink process for that device; `program` is what Python runs instead of it."""
    own, theirs = messages.pair()
    program = program or ("-m", "firmware.uplink")
    words = [sys.executable, *program, "--channel", str(theirs.fileno())]
    process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
    theirs.close()
    try:
        messages.send(own, messages.StartUplink(device.settings, device.name, device.recipient_key))
        yield Uplink(process, own)
    finally:
        own.close()
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until the hub's view of things is so."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, "it did not become so"
        time.sleep(0.05)
