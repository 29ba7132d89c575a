"""Whose signatures the reader believes: the certificates that provisioning has issued.

One folder holds a PEM file for each certificate, the device's own certificate first in it, with
as many files for a device as it has had keys: records that were signed before a rotation stay
readable. Revoking a device is removing its files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from firmware.envelope import is_device
from firmware.errors import SealError
from firmware.signature import is_p256

_SUFFIXES = frozenset({".pem", ".crt", ".cer"})


class DeviceTrust:
    """The public keys of each device.

    Args:
        keys: device id → its P-256 keys, the likeliest first.
    """

    def __init__(self, keys: Mapping[str, Iterable[ec.EllipticCurvePublicKey]]) -> None:
        self._keys = {device: tuple(theirs) for device, theirs in keys.items()}

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self, device: str) -> tuple[ec.EllipticCurvePublicKey, ...]:
        """Keys that may have signed for this device, the newest first; none: it is unknown."""
        return self._keys.get(device, ())

    @classmethod
    def from_folder(cls, folder: Path, roots_pem: bytes = b"") -> DeviceTrust:
        """Read every certificate below a folder; authorities among them are passed over.

        Args:
            roots_pem: when given, each certificate must chain to one of these, by way of the
                authorities that follow it in its file. A chain is judged at the time at which
                the device's certificate became valid: a record outlives the certificate.

        Raises:
            SealError: the folder or a file cannot be read, or a certificate names no device,
                holds no P-256 key or does not chain to a root.
        """
        try:
            paths = sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
            files = [(path, path.read_bytes()) for path in paths]
            if not folder.is_dir():
                raise NotADirectoryError(20, "not a folder")
        except OSError as error:
            raise SealError(
                f"device certificates in {folder} cannot be read ({error.strerror})",
                remedy="name the folder that provisioning writes issued certificates to",
            ) from error
        roots = _certificates(Path("roots"), roots_pem) if roots_pem else []
        leaves = []
        for path, content in files:
            leaf, *rest = _certificates(path, content)
            if _is_authority(leaf):
                continue
            if roots:
                _check_chain(path, leaf, rest, roots)
            leaves.append((leaf.not_valid_before_utc, *_device(path, leaf)))
        keys: dict[str, list[ec.EllipticCurvePublicKey]] = {}
        for _, device, key in sorted(leaves, key=lambda leaf: leaf[0], reverse=True):
            keys.setdefault(device, []).append(key)
        return cls(keys)


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise _bad(path, "is no PEM certificate") from error


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _device(path: Path, leaf: x509.Certificate) -> tuple[str, ec.EllipticCurvePublicKey]:
    try:
        names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = leaf.public_key()
    except ValueError as error:
        raise _bad(path, "cannot be understood") from error
    if len(names) != 1 or not is_device(str(names[0].value)):
        raise _bad(path, "names no device as its common name")
    if not is_p256(key):
        raise _bad(path, "holds no P-256 key")
    return str(names[0].value), key


def _check_chain(
    path: Path,
    leaf: x509.Certificate,
    between: list[x509.Certificate],
    roots: list[x509.Certificate],
) -> None:
    # The Web PKI's default policy asks a leaf for a subject alternative name; a device has none.
    device = ExtensionPolicy.webpki_defaults_ee().may_be_present(
        x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
    )
    verifier = (
        PolicyBuilder()
        .store(Store(roots))
        .time(leaf.not_valid_before_utc)
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=device)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, between)
    except VerificationError as error:
        raise _bad(path, "does not chain to a trusted root") from error


def _bad(path: Path, why: str) -> SealError:
    return SealError(
        f"device certificate {path.name} {why}",
        remedy="remove that file from the folder, or issue the certificate again",
    )
