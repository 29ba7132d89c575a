"""Certificates for a hub on this machine: a root, the server's, and devices' for a bench.

Pilots and products use `provisioning`; these keys live as long as a test or a demo.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Credential:
    """A P-256 key with its certificate and the certificates above it, nearest first."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()

    def certificate_pem(self) -> str:
        """Own certificate, then the intermediates: what a TLS peer must be shown."""
        return "".join(map(pem, (self.certificate, *self.above)))

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write `name.pem` and `name.key` (mode 0600); gives both paths."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = directory / f"{name}.pem", directory / f"{name}.key"
        paths[0].write_text(self.certificate_pem())
        secret = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        paths[1].unlink(missing_ok=True)
        with os.fdopen(
            os.open(paths[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        ) as file:
            file.write(secret)
        return paths


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def authority(name: str, issuer: Credential | None = None) -> Credential:
    """A root, or an intermediate below `issuer`."""
    return _issue(name, issuer, is_authority=True)


def server(hosts: Sequence[str], issuer: Credential, *, days: float = 30) -> Credential:
    """A TLS server's certificate for host names and IP addresses; expired when `days` < 0."""
    return _issue(hosts[0], issuer, hosts=hosts, days=days)


def device(name: str, issuer: Credential | None = None, *, days: float = 30) -> Credential:
    """A device's certificate; self-signed without an issuer, expired when `days` < 0."""
    return _issue(name, issuer, days=days)


def _issue(
    name: str,
    issuer: Credential | None,
    *,
    is_authority: bool = False,
    hosts: Sequence[str] = (),
    days: float = 30,
) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = datetime.datetime.now(datetime.timezone.utc) + days * _DAY
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(end, datetime.datetime.now(datetime.timezone.utc)) - _DAY)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    above: tuple[x509.Certificate, ...] = ()
    if issuer and issuer.certificate.issuer != issuer.certificate.subject:
        above = (issuer.certificate, *issuer.above)
    return Credential(key, builder.sign(signer, hashes.SHA256()), above)


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
