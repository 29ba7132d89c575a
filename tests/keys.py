"""Keys for tests, derived from public seeds: everybody can compute them, so they protect nothing.

No key is kept in the repository; whoever reads these lines has them all.
"""

from __future__ import annotations

import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from firmware.envelope import Suite
from firmware.recipient import PrivateKey
from firmware.sealing import Recipient


def seed(label: str) -> bytes:
    return hashlib.sha256(b"FLOW sensor, public test seed: " + label.encode()).digest()


def private_key(label: str = "recipient", suite: Suite = Suite.X25519) -> PrivateKey:
    return PrivateKey(suite, seed(f"{suite.name} {label}"))


def recipient(label: str = "recipient", suite: Suite = Suite.X25519) -> Recipient:
    return Recipient.from_bytes(private_key(label, suite).public_bytes())


class Signing:
    """A P-256 key that signs the way a device's identity key does."""

    def __init__(self, label: str) -> None:
        self.private = ec.derive_private_key(
            int.from_bytes(seed(f"P-256 {label}"), "big"), ec.SECP256R1()
        )

    def sign(self, data: bytes, /) -> bytes:
        r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def certificate(self, device: str, valid_from: datetime.datetime) -> bytes:
        """A self-signed certificate (PEM) for 30 days."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.private.public_key())
            .serial_number(1)
            .not_valid_before(valid_from)
            .not_valid_after(valid_from + datetime.timedelta(days=30))
            .sign(self.private, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
