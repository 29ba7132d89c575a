"""Sealing: a record becomes an envelope that only the recipient can open.

HPKE (RFC 9180) in base mode, one message for each envelope, with the header as `info`. Base mode
does not say who sealed, so the uplink signs each envelope with the device's identity key.
Vision seals interactions and the uplink seals health records; both import this module, which
therefore loads the least that it can.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from firmware.envelope import (
    KEY_ID_BYTES,
    MAX_BODY,
    SIGNATURE_BYTES,
    Header,
    Kind,
    Suite,
    pack,
    split,
    unpack,
)
from firmware.errors import SealError
from firmware.record import HealthBody, Interaction

__all__ = [
    "MAX_BODY",
    "PADDED_SIZES",
    "PublicKeyFile",
    "Recipient",
    "Signer",
    "key_id",
    "pack",
    "seal",
    "seal_health",
    "sign",
    "unpack",
]

PADDED_SIZES = (512, 1024, 2048)
"""Bytes of a padded plaintext. Every interaction has the first size: its length tells nothing."""

HPKE = {
    Suite.MLKEM768_X25519: hpke.Suite(
        hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM
    ),
    Suite.X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}

_MLKEM_PUBLIC_BYTES = 1184
_encoder = msgspec.json.Encoder()
_interaction = msgspec.json.Decoder(Interaction)
_health = msgspec.json.Decoder(HealthBody)


class Signer(Protocol):
    """The device's identity key, or whatever keeps it."""

    def sign(self, data: bytes, /) -> bytes:
        """ECDSA over P-256 with SHA-256 of `data` → r ‖ s, 64 bytes (IEEE P1363)."""


class PublicKeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="flow-recipient"):
    """The recipient's public key as `flow-sensor keygen` writes it: one line of JSON.

    Attributes:
        key: the raw public key, base64 in the file: for X25519 its 32 bytes, for the hybrid the
            1,184 bytes of ML-KEM-768 and then the 32 of X25519.
        key_id: `key_id(suite, key)` in hexadecimal digits.
    """

    version: Literal[1]
    suite: str
    key_id: str
    key: bytes


class Recipient:
    """The public key that records are sealed to.

    Attributes:
        suite: the HPKE suite that goes with the key.
        key_id: 8 bytes, stands in every header and lets the reader choose its private key.
    """

    __slots__ = ("_key", "key_id", "suite")

    def __init__(self, suite: Suite, raw: bytes) -> None:
        """Take a raw public key.

        Raises:
            SealError: it is no key of that suite, or one to which nothing can be sealed.
        """
        self.suite = suite
        self.key_id = key_id(suite, raw)
        try:
            self._key = _public_key(suite, raw)
            HPKE[suite].encrypt(b"", self._key)  # an X25519 key of low order fails only here
        except ValueError as error:
            raise _bad_key(f"no public key of {suite.name}") from error

    @classmethod
    def from_bytes(cls, public: bytes) -> Recipient:
        """Take the content of a public key file.

        Raises:
            SealError: it is no such file, or its key is damaged.
        """
        try:
            file = msgspec.json.decode(public, type=PublicKeyFile)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _bad_key("not the file that keygen writes") from error
        if file.suite not in Suite.__members__:
            raise _bad_key(f"unknown suite {file.suite!r}")
        recipient = cls(Suite[file.suite], file.key)
        if file.key_id != recipient.key_id.hex():
            raise _bad_key("key and key id do not belong together")
        return recipient


def key_id(suite: Suite, raw: bytes) -> bytes:
    """First 8 bytes of SHA-256 over the suite's number and the raw public key."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(bytes((suite,)) + raw)
    return digest.finalize()[:KEY_ID_BYTES]


def seal(interaction: Interaction, *, number: int, device: str, recipient: Recipient) -> bytes:
    """Seal one interaction.

    Returns: header and ciphertext, of one length for all interactions of a device.

    Raises:
        SealError: the record breaks its own schema, or `number` or `device` fits no header.
    """
    header = Header(recipient.suite, Kind.INTERACTION, recipient.key_id, number, device)
    return _seal(interaction, _interaction, header, recipient)


def seal_health(body: dict[str, Any], *, number: int, device: str, recipient: Recipient) -> bytes:
    """Seal one health record. Its numbers only have to differ; nobody counts gaps in them.

    Raises:
        SealError: a value is no integer, word, or flat list or table of such; the record is
            longer than the largest of `PADDED_SIZES`; `number` or `device` fits no header.
    """
    header = Header(recipient.suite, Kind.HEALTH, recipient.key_id, number, device)
    return _seal(body, _health, header, recipient)


def sign(envelope: bytes, signer: Signer) -> bytes:
    """Append the device's signature over the whole envelope.

    The signed bytes begin with "FLOW", so no signature made here can pass for one that the same
    key gives in a TLS handshake or under a certificate request.

    Raises:
        SealError: these are no envelope's bytes, or the signer gave no P-256 signature.
    """
    split(envelope)
    signature = signer.sign(envelope)
    if len(signature) != SIGNATURE_BYTES:
        raise SealError(
            "the identity key gave no ECDSA P-256 signature",
            remedy="check the device key: it must be a P-256 key",
        )
    return envelope + signature


def _seal(
    record: Interaction | dict[str, Any],
    schema: msgspec.json.Decoder[Any],
    header: Header,
    recipient: Recipient,
) -> bytes:
    info = header.encode()
    # The one buffer of plain text that Python sees: owned, zeroed below, never turned into
    # bytes or str. What remains are blocks that others have freed - the fields' integers, the
    # buffer's former places when it grew, the cipher's key schedule and shared secrets inside
    # OpenSSL - and these the zero-on-free allocator of the vision process clears.
    text = bytearray()
    try:
        _encoder.encode_into(record, text)
        schema.decode(text)
        size = next((size for size in PADDED_SIZES if len(text) <= size), 0)
        if not size:
            raise SealError(
                f"a record is longer than {PADDED_SIZES[-1]} bytes",
                remedy="send fewer or shorter fields in one record",
            )
        text.extend(b" " * (size - len(text)))  # white space after JSON means nothing
        return info + HPKE[recipient.suite].encrypt(text, recipient._key, info)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        # `from None`, and no text of the error: it may quote a value of the record.
        problem = f"a record breaks its schema ({type(error).__name__})"
        raise SealError(problem, remedy="give the record only what docs/record.md lists") from None
    finally:
        text[:] = bytes(len(text))


def _public_key(suite: Suite, raw: bytes) -> x25519.X25519PublicKey | hpke.MLKEM768X25519PublicKey:
    if suite is Suite.X25519:
        return x25519.X25519PublicKey.from_public_bytes(raw)
    return hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
        x25519.X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
    )


def _bad_key(why: str) -> SealError:
    return SealError(
        f"recipient's public key: {why}",
        remedy="use the .pub file of `flow-sensor keygen`, unchanged",
    )
