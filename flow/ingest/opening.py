"""Opening hub messages with the recipient's key; the reader library does the checking."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from firmware.device_trust import DeviceTrust
from firmware.errors import ConfigError, SealError
from firmware.reader import Reader
from firmware.recipient import PrivateKey
from flow.ingest.store import Arrived, Batch, Rejected
from flow.models import Sensor


class Message(NamedTuple):
    """A hub's message.

    Attributes:
        device: the id that the hub authenticated.
        position: where its source can be taken up again after it.
    """

    body: bytes
    device: str
    enqueued_utc_s: int
    position: int


class _Prints:
    """The reader's memory: it lets everything pass, for the database decides what is new, and
    keeps the fingerprints of the message at hand."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, int], int] = {}

    def add(self, device: str, kind: str, number: int, digest: bytes) -> bytes | None:
        self.of[kind, number] = int.from_bytes(digest[:2], "big") or 1
        return None


class Opener:
    """Opens messages of every registered sensor.

    Args:
        keys: the recipient's private keys.
    """

    def __init__(self, keys: Iterable[PrivateKey]) -> None:
        self._prints = _Prints()
        self._reader = Reader(keys, trust(), self._prints)

    def renew(self) -> None:
        """Take in sensors that were registered or retired since."""
        self._reader.trust = trust()

    def open(self, messages: Iterable[Message]) -> Batch:
        """Open messages; what is refused stands in the batch with the reason."""
        batch = Batch()
        for message in messages:
            self._prints.of.clear()
            reading = self._reader.read(message.body, message.device)
            batch.arrived += [
                Arrived(
                    opened.device,
                    opened.number,
                    message.enqueued_utc_s,
                    opened.record,
                    self._prints.of[opened.kind, opened.number],
                )
                for opened in reading.records
            ]
            batch.rejected += [
                Rejected(message.device, error.problem, message.body) for error in reading.refused
            ]
        return batch


def trust() -> DeviceTrust:
    """The keys of all sensors in service."""
    sensors = Sensor.objects.filter(retired=False).exclude(certificates="")
    named = sensors.values_list("device", "certificates")
    return DeviceTrust({device: public_keys(pem) for device, pem in named})


def public_keys(pem: str) -> list[ec.EllipticCurvePublicKey]:
    """The P-256 keys of some certificates."""
    keys = [
        certificate.public_key() for certificate in x509.load_pem_x509_certificates(pem.encode())
    ]
    return [key for key in keys if isinstance(key, ec.EllipticCurvePublicKey)]


def check_certificates(pem: str) -> str:
    """The device whose certificates these are.

    They must chain to FLOW_DEVICE_ROOTS (a PEM file) where that is set.

    Raises:
        SealError: no certificates, of several devices, of an authority, or not issued by ours.
    """
    roots = os.environ.get("FLOW_DEVICE_ROOTS")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "device.pem").write_text(pem)
        checked = DeviceTrust.from_folder(Path(folder), Path(roots).read_bytes() if roots else b"")
    first = x509.load_pem_x509_certificate(pem.encode())
    names = first.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    device = str(names[0].value) if names else ""
    if not checked.keys(device):
        raise SealError(
            "this is no device's certificate",
            remedy="paste the certificate that provisioning issued to the sensor",
        )
    return device


def recipient_keys() -> list[PrivateKey]:
    """The private keys that FLOW_RECIPIENT_KEYS names.

    Each word is a file of `flow-sensor keygen`, or the address of a secret in Azure Key Vault
    (`https://<vault>.vault.azure.net/secrets/<name>`), which holds such a file's content.

    Raises:
        ConfigError: none is named.
        SealError: one is missing or damaged.
    """
    places = os.environ.get("FLOW_RECIPIENT_KEYS", "").split()
    if not places:
        raise ConfigError(
            "FLOW_RECIPIENT_KEYS names no key",
            remedy="set it to the recipient's .key file, or to its secret in Azure Key Vault",
        )
    return [
        PrivateKey.from_bytes(_vault_secret(place))
        if place.startswith("https://")
        else PrivateKey.load(Path(place))
        for place in places
    ]


def _vault_secret(address: str) -> bytes:
    from azure.core.exceptions import AzureError  # noqa: PLC0415 (slow, and seldom needed)
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415
    from azure.keyvault.secrets import SecretClient  # noqa: PLC0415

    vault, _, name = address.partition("/secrets/")
    try:
        secret = SecretClient(vault, DefaultAzureCredential()).get_secret(name.split("/")[0])
    except AzureError as error:
        raise ConfigError(
            f"the secret {name!r} in Key Vault cannot be read ({type(error).__name__})",
            remedy="give this service's managed identity the role Key Vault Secrets User",
        ) from error
    return (secret.value or "").encode()
