"""A certificate authority for pilots and tests.

root (offline, path length 1) → intermediate for one batch of devices (path length 0) → device.
A product's fleet gets its certificates from a managed authority; the chain has the same shape, so
that nothing on the device changes. All keys are P-256, all signatures ECDSA with SHA-256.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firmware.errors import ProvisioningError

DEVICE_DAYS = 365
BATCH_DAYS = 10 * 365
ROOT_DAYS = 20 * 365
_BACKDATED = datetime.timedelta(hours=1)
"""A device's clock may be behind when it first shows its certificate."""

DEVICE_ID = re.compile(r"[a-z0-9](?:[a-z0-9._:-]{0,62}[a-z0-9])?")
"""What both a registration id and a device id may be: ≤ 64, lower case, no dash at the end."""


@dataclass(frozen=True)
class Authority:
    """A certificate that may sign others, and its private key.

    Attributes:
        chain: the authorities between a device and the root, nearest first, the root left out.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(cls, name: str, *, days: int = ROOT_DAYS) -> Authority:
        """A new self-signed root, which may sign batches and servers."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _authority(_builder(name, key.public_key(), days), path_length=1)
        return cls(builder.issuer_name(_name(name)).sign(key, hashes.SHA256()), key)

    def batch(self, name: str, *, days: int = BATCH_DAYS) -> Authority:
        """A new intermediate authority, which may sign devices only."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _authority(_builder(name, key.public_key(), days), path_length=0)
        certificate = self._sign(builder)
        return Authority(certificate, key, (certificate, *self.chain))

    def device(self, request_pem: bytes, *, days: int = DEVICE_DAYS, device: str = "") -> bytes:
        """Sign a device's own request.

        Args:
            request_pem: PKCS #10 request; only its key and common name are taken over.
            device: the id that the request must be for; "" accepts the one that it names.

        Returns:
            PEM text: the device's certificate and the authorities up to, without, the root.

        Raises:
            ProvisioningError: the request is broken, is signed by another key, is not P-256, or
                names something that cannot be a device id.
        """
        request = _checked_request(request_pem)
        name = _common_name(request.subject)
        if not DEVICE_ID.fullmatch(name) or (device and name != device):
            raise ProvisioningError(
                f"request is for {name!r}" + (f", not {device!r}" if device else ""),
                remedy="ask for an id of at most 64 lower-case letters, digits and -._:",
            )
        builder = _builder(name, request.public_key(), days)
        leaf = self._sign(_leaf(builder, ExtendedKeyUsageOID.CLIENT_AUTH))
        return pem(leaf, *self.chain)

    def server(
        self, hosts: Iterable[str], *, days: int = 90
    ) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
        """A server's certificate (PEM with chain) and key, for host names and IP addresses."""
        names = list(hosts)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(names[0], key.public_key(), days).add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in names]), critical=False
        )
        leaf = self._sign(_leaf(builder, ExtendedKeyUsageOID.SERVER_AUTH))
        return pem(leaf, *self.chain), key

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            builder.issuer_name(self.certificate.subject)
            .add_extension(identifier, critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def save(self, folder: Path, name: str) -> None:
        """Write `name.pem` (own certificate and chain) and `name.key` (0600).

        Raises:
            ProvisioningError: one of them is there already, or the folder cannot be written.
        """
        own = pem(*self.chain) if self.chain else pem(self.certificate)
        write_new(folder / f"{name}.key", private_pem(self.key), mode=0o600)
        write_new(folder / f"{name}.pem", own, mode=0o644)

    @classmethod
    def load(cls, folder: Path, name: str) -> Authority:
        """Read what `save` wrote.

        Raises:
            ProvisioningError: a file is missing or broken.
        """
        try:
            chain = x509.load_pem_x509_certificates((folder / f"{name}.pem").read_bytes())
            key = serialization.load_pem_private_key(
                (folder / f"{name}.key").read_bytes(), password=None
            )
        except (OSError, ValueError, TypeError) as error:
            raise ProvisioningError(
                f"authority {name!r} in {folder} cannot be read ({type(error).__name__})",
                remedy="make one with flow-provision init-ca, or bring the medium that holds it",
            ) from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self_signed = chain[0].issuer == chain[0].subject
        return cls(chain[0], key, () if self_signed else tuple(chain))


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not exist yet.

    Raises:
        ProvisioningError: it exists, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise ProvisioningError(
            f"{path} cannot be written ({error.strerror})",
            remedy="name a new place, or remove the old file by hand if it is no longer needed",
        ) from error


def _builder(name: str, key: object, days: int) -> x509.CertificateBuilder:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    now = datetime.datetime.now(datetime.timezone.utc)
    end = now + datetime.timedelta(days=days)  # days < 0: one that is over, to test against
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - _BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return builder.add_extension(constraints, critical=True).add_extension(
        _usage(authority=True), critical=True
    )


def _leaf(
    builder: x509.CertificateBuilder, purpose: x509.ObjectIdentifier
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _checked_request(request_pem: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(request_pem)
        sound = request.is_signature_valid
    except ValueError as error:
        raise ProvisioningError(
            "the certificate request cannot be read", remedy="make it with flow-provision request"
        ) from error
    key = request.public_key()
    if not sound or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ProvisioningError(
            "the certificate request is not signed by a P-256 key of its own",
            remedy="make it on the device with flow-provision request",
        )
    return request


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _common_name(name: x509.Name) -> str:
    names = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
