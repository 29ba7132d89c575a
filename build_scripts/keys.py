"""The release's keys: what signs a slot, an update and a statement, and who checks it.

A folder holds `slot.key` (Ed25519, signs the header of a root file system), `update.key` and
`update.pem` (P-256 and its certificate, sign update bundles) and `update-ca.pem` with its key.
Builds without one make keys for development, which no production device trusts.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from build_scripts.errors import BuildError

_YEARS_CA, _YEARS_SIGNER = 20, 5


@dataclass(frozen=True)
class Keys:
    folder: Path
    slot: ed25519.Ed25519PrivateKey

    @property
    def update_ca(self) -> Path:
        return self.folder / "update-ca.pem"

    @property
    def update_certificate(self) -> Path:
        return self.folder / "update.pem"

    @property
    def update_key(self) -> Path:
        return self.folder / "update.key"

    def public(self) -> str:
        """The slot key's public half, as `signify` reads it."""
        raw = self.slot.public_key().public_bytes_raw()
        blob = base64.b64encode(b"Ed" + _number(raw) + raw).decode()
        return f"untrusted comment: FLOW sensor slots\n{blob}\n"

    def sign(self, message: bytes) -> str:
        """A detached signature, as `signify` reads it."""
        raw = self.slot.public_key().public_bytes_raw()
        blob = base64.b64encode(b"Ed" + _number(raw) + self.slot.sign(message)).decode()
        return f"untrusted comment: verify with FLOW sensor slots\n{blob}\n"


def load(folder: Path) -> Keys:
    """Read a folder of keys.

    Raises:
        BuildError: one is missing or cannot be used.
    """
    try:
        slot = serialization.load_pem_private_key((folder / "slot.key").read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise BuildError(
            f"{folder / 'slot.key'} cannot be used ({type(error).__name__})",
            remedy="name the folder of the release's keys with --keys",
        ) from error
    keys = Keys(folder, slot) if isinstance(slot, ed25519.Ed25519PrivateKey) else None
    if keys is None or not all(
        path.is_file() for path in (keys.update_ca, keys.update_certificate, keys.update_key)
    ):
        raise BuildError(
            f"{folder} is no folder of release keys",
            remedy="it holds slot.key (Ed25519), update.key, update.pem and update-ca.pem",
        )
    return keys


def development(folder: Path) -> Keys:
    """The keys of a folder; made there when it has none. For rigs and tests."""
    if not (folder / "slot.key").exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = ec.generate_private_key(ec.SECP256R1())
        signer = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate("FLOW sensor updates", authority, None, authority, _YEARS_CA)
        leaf = _certificate("FLOW sensor release", signer, ca, authority, _YEARS_SIGNER)
        for name, certificate in (("update-ca.pem", ca), ("update.pem", leaf)):
            (folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(folder / "update-ca.key", authority)
        _write_key(folder / "update.key", signer)
        _write_key(folder / "slot.key", ed25519.Ed25519PrivateKey.generate())
    return load(folder)


def _number(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()[:8]


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    signer: ec.EllipticCurvePrivateKey,
    years: int,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=authority,
                crl_sign=authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])  # what CMS asks for
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(signer, hashes.SHA256())
