"""Who this device is: its key, its certificate, and the folder on the identity partition.

The device makes its key itself and the key never leaves it; what leaves is a certificate request.
The key stands behind a small protocol, so that a TPM or a secure element is one more driver.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from firmware.errors import ProvisioningError

ID_FILE = "device"
KEY_FILE = "device.key"
CERTIFICATE_FILE = "device.pem"
SHARED_KEY_FILE = "shared.key"
SIGNATURE_BYTES = 64
_COORDINATE_BYTES = 32


class DeviceKey(Protocol):
    """A P-256 private key that signs and cannot be read out."""

    @property
    def path(self) -> Path:
        """What OpenSSL opens for the TLS handshake: a PEM file, also for a key inside a TPM."""

    def sign(self, data: bytes) -> bytes:
        """ECDSA with SHA-256 over `data` → r‖s, 64 bytes (IEEE P1363)."""

    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""

    def request(self, device: str) -> bytes:
        """A certificate signing request (PKCS #10, PEM) with CN = `device`."""


class KeyFile:
    """A P-256 key in a PEM file that its owner alone may read.

    Args:
        path: an existing key file; `create` makes one.

    Raises:
        ProvisioningError: there is no key, it is no P-256 key, or others may read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            mode = path.stat().st_mode
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError:
            raise ProvisioningError(
                f"device key {path} does not exist",
                remedy="provision the device: flow-provision request makes a key and a request",
            ) from None
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ProvisioningError(
                f"device key {path} cannot be used ({type(error).__name__})",
                remedy="provision the device again; a lost key is replaced, never recovered",
            ) from error
        if mode & 0o077:
            raise ProvisioningError(
                f"device key {path} may be read by others", remedy=f"chmod 600 {path}"
            )
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise ProvisioningError(
                f"device key {path} is no P-256 key", remedy="provision the device again"
            )
        self._private = private

    @classmethod
    def create(cls, path: Path) -> KeyFile:
        """Make a new key.

        Raises:
            ProvisioningError: a key is there already, or the folder cannot be written.
        """
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ProvisioningError(
                f"device key {path} cannot be made ({error.strerror})",
                remedy="make the identity partition writable; remove an old key by hand if it "
                "is no longer needed",
            ) from error
        return cls(path)

    def sign(self, data: bytes) -> bytes:
        r, s = utils.decode_dss_signature(self._private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    def public_key(self) -> bytes:
        return self._private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def request(self, device: str) -> bytes:
        try:
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
        except ValueError as error:
            raise ProvisioningError(
                f"no certificate can be for {device[:70]!r}", remedy="take an id of 1 to 64 letters"
            ) from error
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        return builder.sign(self._private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Certificate:
    """A device's certificate with the intermediates that lead to the root.

    Args:
        path: PEM file, the device's own certificate first.
    """

    path: Path
    leaf: x509.Certificate

    @classmethod
    def load(cls, path: Path) -> Certificate:
        """Read a certificate file.

        Raises:
            ProvisioningError: it is missing or holds no certificate.
        """
        try:
            pem = path.read_bytes()
        except FileNotFoundError:
            raise ProvisioningError(
                f"device certificate {path} does not exist",
                remedy="have the request signed: flow-provision issue",
            ) from None
        except OSError as error:
            raise _unreadable(path, error) from error
        return cls.parse(pem, path)

    @classmethod
    def parse(cls, pem: bytes, path: Path) -> Certificate:
        """The certificate in PEM text that is or will be in the file `path`.

        Raises:
            ProvisioningError: the text holds no certificate.
        """
        try:
            return cls(path, x509.load_pem_x509_certificates(pem)[0])
        except (ValueError, IndexError) as error:
            raise _unreadable(path, error) from error

    @property
    def device(self) -> str:
        """The common name, which is the registration id and the device id; "" without one."""
        names = self.leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    def days_left(self, now: datetime.datetime | None = None) -> int:
        """Whole days until the certificate ends; negative afterwards."""
        now = now or datetime.datetime.now(datetime.timezone.utc)
        return (self.leaf.not_valid_after_utc - now).days

    def validity(
        self, now: datetime.datetime | None = None
    ) -> Literal["valid", "expired", "early"]:
        """Whether its time is now, over, or - which is the clock's fault - still to come."""
        now = now or datetime.datetime.now(datetime.timezone.utc)
        if now > self.leaf.not_valid_after_utc:
            return "expired"
        return "valid" if now >= self.leaf.not_valid_before_utc else "early"

    def certifies(self, key: DeviceKey) -> bool:
        return key.public_key() == self.leaf.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def check_owner(self, key: DeviceKey, device: str) -> None:
        """Raises ProvisioningError unless it certifies `key` for `device`."""
        if not self.certifies(key):
            raise ProvisioningError(
                f"certificate {self.path} is for another key",
                remedy="have this device's own request signed: flow-provision issue",
            )
        if self.device != device:
            raise ProvisioningError(
                f"certificate {self.path} is for device {self.device!r}, not {device!r}",
                remedy="put this device's certificate there, or correct the device id",
            )

    def check(self, key: DeviceKey, device: str, now: datetime.datetime | None = None) -> None:
        """Raises ProvisioningError unless it certifies `key` for `device` at this time."""
        self.check_owner(key, device)
        if self.validity(now) == "expired":
            raise ProvisioningError(
                f"certificate {self.path} expired on {self.leaf.not_valid_after_utc:%Y-%m-%d}",
                remedy="issue a new one (flow-provision rotate); if that date lies ahead, the "
                "clock is wrong: check time synchronisation",
            )
        if self.validity(now) == "early":
            raise ProvisioningError(
                f"certificate {self.path} begins on {self.leaf.not_valid_before_utc:%Y-%m-%d}",
                remedy="the device's clock is behind: check time synchronisation",
            )


def _unreadable(path: Path, error: Exception) -> ProvisioningError:
    return ProvisioningError(
        f"device certificate {path} cannot be read ({type(error).__name__})",
        remedy="put the PEM file there that flow-provision issue wrote",
    )


@dataclass(frozen=True)
class Identity:
    """A device as it shows itself to the cloud: by certificate, or by a shared key."""

    device: str
    key: DeviceKey
    certificate: Certificate | None
    shared_key: str = ""
    """Base64 key derived for this device from an enrolment group's key; "" with a certificate."""

    @classmethod
    def load(cls, directory: Path, device: str) -> Identity:
        """Read and check what the identity partition holds.

        Whether it is in date is asked at each connection: at power-on a clock may be years
        behind, and the device counts visitors until it is set.

        Raises:
            ProvisioningError: the key or the certificate is missing, broken, or belongs to
                another device.
        """
        key = KeyFile(directory / KEY_FILE)
        shared = directory / SHARED_KEY_FILE
        if shared.exists() and not (directory / CERTIFICATE_FILE).exists():
            return cls(device, key, None, _shared_key(shared))
        certificate = Certificate.load(directory / CERTIFICATE_FILE)
        certificate.check_owner(key, device)
        return cls(device, key, certificate)


def request(directory: Path, device: str) -> bytes:
    """The device's certificate request in PEM; the key is made first when there is none.

    The device's id is kept beside the key, where `settings.device_id` looks for it.

    Raises:
        ProvisioningError: the key cannot be made or used, or it was made for another id.
    """
    name = directory / ID_FILE
    try:
        if not name.exists():
            directory.mkdir(parents=True, exist_ok=True)
            name.write_text(f"{device}\n", encoding="ascii")
        known = name.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise ProvisioningError(
            f"device id {name} cannot be written ({type(error).__name__})",
            remedy="make the identity partition writable",
        ) from error
    if known != device:
        raise ProvisioningError(
            f"{directory} belongs to device {known!r}, not {device!r}",
            remedy="take the other id, or an empty folder: one key has one name",
        )
    path = directory / KEY_FILE
    key = KeyFile(path) if path.exists() else KeyFile.create(path)
    return key.request(device)


def _shared_key(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise ProvisioningError(
                f"shared key {path} may be read by others", remedy=f"chmod 600 {path}"
            )
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ProvisioningError(
            f"shared key {path} cannot be read ({type(error).__name__})",
            remedy="write it again with flow-provision enroll",
        ) from error
