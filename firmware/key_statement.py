"""Which recipient key a device seals to, as the operator's signed statement.

The operator's public key is pinned in the device's image. A statement may come over any way, also
from the hub: without the operator's private key nobody can make a device seal to another key.
Serials only grow, so that an old statement cannot bring a retired key back. During a rotation the
reader holds the old and the new private key; a device knows exactly one recipient at a time.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from firmware.errors import SealError
from firmware.sealing import PublicKeyFile, Recipient, Signer
from firmware.signature import is_p256, verify

_LABEL = b"FLOW recipient statement 1\0"
"""Keeps this signature apart from every other use of the operator's key."""


class Statement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="flow-recipient-statement"
):
    """Seal to `recipient` from now on.

    Attributes:
        serial: grows with every statement that the operator makes.
        issued_utc_s: when it was signed, Unix seconds; for people, not checked: a device may not
            know the time.
    """

    version: Literal[1]
    serial: Annotated[int, msgspec.Meta(ge=1, lt=1 << 53)]
    issued_utc_s: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    recipient: PublicKeyFile

    def key(self) -> Recipient:
        """The key to seal to.

        Raises:
            SealError: the statement holds a damaged key.
        """
        return Recipient.from_bytes(msgspec.json.encode(self.recipient))


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="flow-signed-statement"):
    """`statement` holds the very bytes that were signed; `signature` is r ‖ s."""

    statement: bytes
    signature: bytes


def issue(public: bytes, *, serial: int, issued_utc_s: int, operator: Signer) -> bytes:
    """Sign a statement.

    Args:
        public: content of the new recipient's public key file.
        operator: the operator's P-256 key.

    Returns: one line of JSON, below the 4 KB that a twin's string may have.

    Raises:
        SealError: `public` is no public key file, or a number is out of range.
    """
    Recipient.from_bytes(public)
    file = msgspec.json.decode(public, type=PublicKeyFile)
    content = msgspec.json.encode(Statement(1, serial, issued_utc_s, file))
    _decoded(content)
    signed = _Signed(content, operator.sign(_LABEL + content))
    return msgspec.json.encode(signed) + b"\n"


def accept(signed: bytes, *, operator_pem: bytes, newest_serial: int = 0) -> Statement:
    """Check a signed statement.

    Args:
        operator_pem: the pinned public key (SubjectPublicKeyInfo, P-256).
        newest_serial: highest serial that this device has accepted so far; the same one is
            accepted again, because a device checks its stored statement at every start.

    Raises:
        SealError: unsigned, signed by anybody else, altered, older, or malformed.
    """
    operator = _operator(operator_pem)
    try:
        envelope = msgspec.json.decode(signed, type=_Signed)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _refused("is not signed") from error
    if not verify(operator, envelope.signature, _LABEL + envelope.statement):
        raise _refused("is not signed by this device's operator")
    statement = _decoded(envelope.statement)
    if statement.serial < newest_serial:
        raise _refused(f"has serial {statement.serial}, older than {newest_serial}")
    statement.key()
    return statement


class RecipientKey:
    """The key to seal to, across rotations within one process; it only ever moves forward.

    Args:
        operator_pem: the pinned public key: then only its signed statements count. Empty: a plain
            public key file is taken as it is, and can only be changed with the image.
    """

    def __init__(self, operator_pem: bytes = b"") -> None:
        self._operator_pem = operator_pem
        self.serial = 0

    def take(self, content: bytes) -> Recipient:
        """Take what `[sealing] recipient` names, or what came over the twin.

        Raises:
            SealError: as `accept`, or as `Recipient.from_bytes`; the former key stays good.
        """
        if not self._operator_pem:
            return Recipient.from_bytes(content)
        statement = accept(content, operator_pem=self._operator_pem, newest_serial=self.serial)
        self.serial = statement.serial
        return statement.key()


def _decoded(content: bytes) -> Statement:
    try:
        return msgspec.json.decode(content, type=Statement)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _refused("is malformed") from error


def _operator(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not is_p256(key):
        raise SealError(
            "the pinned operator key is no P-256 public key",
            remedy="make [sealing] operator name a PEM file with the operator's public key",
        )
    return key


def _refused(why: str) -> SealError:
    return SealError(
        f"recipient statement refused: it {why}",
        remedy="get the newest one from the operator (flow-provision recipient); the device goes "
        "on with the key that it has",
    )
