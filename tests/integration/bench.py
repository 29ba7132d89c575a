"""A bench for the uplink: a real process, the real SDK, TLS, and a hub on this machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from firmware import envelope, messages, record, sealing
from firmware.uplink.identity import CERTIFICATE_FILE, KEY_FILE, KeyFile
from hil.local_hub import Service, running
from provisioning.authority import Authority

PATIENCE_S = 30.0

M = TypeVar("M", bound=messages.Message)
_addresses = itertools.count(1)


def loopback() -> str:
    """An address that no other test of this or another test process has at this time."""
    pid = os.getpid()
    return f"127.{64 + pid % 64}.{pid // 64 % 256}.{next(_addresses) % 254 + 1}"


@dataclass
class Device:
    """A provisioned device's files and settings."""

    name: str
    directory: Path
    settings: dict[str, Any]
    recipient_key: bytes

    def sealed(self, number: int) -> messages.Deliver:
        """An interaction sealed under that number, as vision would send it."""
        interaction = record.Interaction(start_utc_s=0, dwell_ms=1000)
        recipient = sealing.Recipient.from_bytes(self.recipient_key)
        return messages.Deliver(
            number,
            sealing.seal(interaction, number=number, device=self.name, recipient=recipient),
        )


@dataclass
class Bench:
    """A hub, its authority and one enrolled device."""

    hub: Service
    host: str
    root: Authority
    batch: Authority
    device: Device

    def numbers(self) -> list[int]:
        """The numbers of all interactions that the hub has stored, in its order."""
        return [
            envelope.split(signed)[0].number
            for body in self.bodies("records")
            for signed in envelope.unpack(body)
        ]

    def bodies(self, kind: str) -> list[bytes]:
        from hil.local_hub import events

        return [one.body for one in events(self.hub.capture) if one.properties["kind"] == kind]


@dataclass
class Uplink:
    """A running uplink process, with this test as its supervisor."""

    process: subprocess.Popen[str]
    channel: Any
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
            self._listen(until)
        raise AssertionError(f"no {kind.__name__} came")

    def delivered(self, numbers: set[int]) -> None:
        """Wait until all of these are acknowledged."""
        missing = set(numbers)
        while missing:
            missing -= set(self.wait_for(messages.Delivered).numbers)

    def ended(self) -> int:
        """The exit status."""
        return self.process.wait(PATIENCE_S)

    def words(self) -> str:
        """All that it wrote, once it has ended."""
        assert self.process.stderr
        return self.process.stderr.read()

    def _listen(self, until: float) -> None:
        if select.select([self.channel], [], [], max(0.0, until - time.monotonic()))[0]:
            message = messages.receive(self.channel)
            if message is None:
                raise AssertionError(f"the uplink ended: {self.words()}")
            self.heard.append(message)


@contextlib.contextmanager
def uplink(device: Device, **hub_settings: Any) -> Iterator[Uplink]:
    """Start the uplink process for that device."""
    own, theirs = messages.pair()
    words = [sys.executable, "-m", "firmware.uplink", "--channel", str(theirs.fileno())]
    process = subprocess.Popen(
        words, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE, text=True
    )
    theirs.close()
    tree = {**device.settings, "hub": {**device.settings["hub"], **hub_settings}}
    try:
        messages.send(own, messages.StartUplink(tree, device.name, device.recipient_key))
        yield Uplink(process, own)
    finally:
        own.close()
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


@contextlib.contextmanager
def bench(folder: Path, recipient_key: bytes, *options: str) -> Iterator[Bench]:
    """A hub that accepts one device by its certificate."""
    host = loopback()
    root = Authority.root("Test root")
    batch = root.batch("Test batch")
    with running(folder / "hub", host, *options) as hub:
        device = provisioned(folder / "device", "sensor-1", batch, recipient_key, hub, host)
        hub.register(device.name, certificates=[_leaf(device)])
        yield Bench(hub, host, root, batch, device)


def provisioned(  # noqa: PLR0917
    directory: Path, name: str, batch: Authority, recipient_key: bytes, hub: Service, host: str
) -> Device:
    directory.mkdir()
    key = KeyFile.create(directory / KEY_FILE)
    (directory / CERTIFICATE_FILE).write_bytes(batch.device(key.request(name)))
    settings = {
        "identity": {"directory": str(directory)},
        "hub": {
            "host": host,
            "trust": str(hub.trust),
            "acknowledge_s": 10.0,
            "retry_s": 0.05,
            "retry_most_s": 0.5,
            "first_contact_s": 0.0,
        },
    }
    return Device(name, directory, settings, recipient_key)


def _leaf(device: Device) -> Any:
    from cryptography import x509

    return x509.load_pem_x509_certificates((device.directory / CERTIFICATE_FILE).read_bytes())[0]
