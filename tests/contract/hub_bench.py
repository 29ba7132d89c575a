"""A hub in its own process with devices of every kind, for the contract with the real SDK."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient

from hil.local_hub import Event, Service, events, running
from provisioning.authority import Authority, pem
from tests.contract.raw_device import PATIENCE_S, RawDevice
from tests.integration.bench import loopback
from tests.unit.hub_identities import KEY, write

SCOPE = "0ne00000000"


@dataclass
class Bench:
    """`dev1` is certified by `batch` and registered by authority; `key1` has the key `KEY`."""

    hub: Service
    host: str
    folder: Path
    root: Authority
    batch: Authority
    dev1: tuple[str, str]

    def certified(self, name: str = "dev1", **options: Any) -> tuple[str, str]:
        """A new certificate and key, issued by `batch`; options as for `write`."""
        self.folder.joinpath(name).mkdir(exist_ok=True)
        return write(self.folder / name, name, options.pop("issuer", self.batch), **options)

    def raw(self, certificate: tuple[str, str] | None = None, **options: Any) -> RawDevice:
        return RawDevice(self.host, self.hub.trust, certificate or self.dev1, **options)

    def messages(self, device: str) -> list[Event]:
        return [event for event in events(self.hub.capture) if event.device == device]

    @contextlib.contextmanager
    def client(
        self, certificate: tuple[str, str] | None = None, device: str = "dev1", **options: Any
    ) -> Iterator[IoTHubDeviceClient]:
        """The SDK's client, not connected yet, with its own reconnection off."""
        made = IoTHubDeviceClient.create_from_x509_certificate(
            x509=x509(certificate or self.dev1),
            hostname=self.host,
            device_id=device,
            **self._options(options),
        )
        yield from shut_down(made)

    @contextlib.contextmanager
    def key_client(
        self, device: str = "key1", key: str = KEY, **options: Any
    ) -> Iterator[IoTHubDeviceClient]:
        made = IoTHubDeviceClient.create_from_symmetric_key(
            symmetric_key=key, device_id=device, **{"hostname": self.host, **self._options(options)}
        )
        yield from shut_down(made)

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        trust = self.hub.trust.read_text()
        return {"server_verification_cert": trust, "connection_retry": False, **options}

    def register(self, name: str, certificate: tuple[str, str], payload: Any = None) -> Any:
        """Register through DPS with a certificate."""
        client = ProvisioningDeviceClient.create_from_x509_certificate(
            provisioning_host=self.host,
            registration_id=name,
            id_scope=SCOPE,
            x509=x509(certificate),
            server_verification_cert=self.hub.trust.read_text(),
        )
        return registered(client, payload)

    def register_by_key(self, name: str, key: str, payload: Any = None) -> Any:
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            provisioning_host=self.host,
            registration_id=name,
            id_scope=SCOPE,
            symmetric_key=key,
            server_verification_cert=self.hub.trust.read_text(),
        )
        return registered(client, payload)


def x509(certificate: tuple[str, str]) -> X509:
    return X509(*certificate)  # type: ignore[no-untyped-call]


def registered(client: ProvisioningDeviceClient, payload: Any) -> Any:
    client.provisioning_payload = payload
    try:
        return client.register()
    except Exception:
        # The SDK ends its threads after success only, and has no public way to end them else.
        ended = threading.Event()
        client._pipeline.shutdown(  # type: ignore[no-untyped-call]
            callback=lambda **_: ended.set()
        )
        ended.wait(PATIENCE_S)
        raise


def shut_down(client: IoTHubDeviceClient) -> Iterator[IoTHubDeviceClient]:
    try:
        yield client
    finally:
        client.shutdown()


@contextlib.contextmanager
def bench(folder: Path, *options: str) -> Iterator[Bench]:
    root = Authority.root("Device root")
    batch = root.batch("Batch")
    authority = folder / "authority.pem"
    authority.write_bytes(pem(root.certificate))
    host = loopback()
    words = ("--authority", str(authority), "--retry-after", "0", *options)
    with running(folder / "hub", host, *words) as hub:
        hub.register("dev1", by_authority=True)
        hub.register("key1", keys=[KEY])
        yield Bench(hub, host, folder, root, batch, write(folder, "dev1", batch))


class Mailbox:
    """What a callback of the SDK was given."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self._arrived = threading.Condition()

    def __call__(self, item: Any) -> None:
        with self._arrived:
            self.received.append(item)
            self._arrived.notify_all()

    def wait_for(self, count: int) -> list[Any]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, PATIENCE_S)
            return self.received


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        if is_so():
            return
        pause.wait(0.05)
    raise AssertionError("it never was so")
