"""Devices' keys, certificates and tokens for the tests of the hub."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hil.local_hub.credentials import Chain
from provisioning.authority import Authority, pem, private_pem

KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 32).decode()


def request(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def chain(issuer: Authority, name: str, *, days: int = 30) -> Chain:
    """What a device with a certificate from that authority shows."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = issuer.device(request(name, key), days=days)
    return tuple(x509.load_pem_x509_certificates(issued))


def self_signed(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )
    return builder.sign(key, hashes.SHA256()), key


def write(
    folder: Path, name: str, issuer: Authority | None, *, subject: str = "", days: int = 30
) -> tuple[str, str]:
    """Write a device's certificate and key; gives both paths. Without an issuer: self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    if issuer is None:
        certificate, key = self_signed(subject or name)
        issued = pem(certificate)
    else:
        issued = issuer.device(request(subject or name, key), days=days)
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(issued)
    paths[1].write_bytes(private_pem(key))
    return str(paths[0]), str(paths[1])


def token(resource: str, key: str, expiry: float) -> str:
    """A shared access signature, written by the letter of Microsoft's description."""
    encoded = quote(resource, safe="")
    text = f"{encoded}\n{int(expiry)}".encode()
    digest = hmac.new(base64.b64decode(key), text, hashlib.sha256).digest()
    signature = quote(base64.b64encode(digest).decode(), safe="")
    return f"SharedAccessSignature sr={encoded}&sig={signature}&se={int(expiry)}"
