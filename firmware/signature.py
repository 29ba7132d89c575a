"""Checking ECDSA P-256 signatures in the form that this project keeps them: r ‖ s, 64 bytes."""

from __future__ import annotations

from typing import TypeGuard

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from firmware.envelope import SIGNATURE_BYTES

_HALF = SIGNATURE_BYTES // 2
_SHA256 = ec.ECDSA(hashes.SHA256())


def is_p256(key: object) -> TypeGuard[ec.EllipticCurvePublicKey]:
    """Whether `key` is a public key that `verify` takes."""
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"


def verify(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Whether `signature` over `data` was made with the private half of `key`."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    r = int.from_bytes(signature[:_HALF], "big")
    s = int.from_bytes(signature[_HALF:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, _SHA256)
    except InvalidSignature:
        return False
    return True
