"""The envelope: what everybody on the way sees of a sealed record. No cryptography here.

    envelope        = header ‖ ciphertext
    signed envelope = envelope ‖ signature (64 bytes, r ‖ s)
    header          = "FLOW" ‖ version u8 ‖ suite u8 ‖ kind u8 ‖ key id (8) ‖ number u64 ‖
                      length u8 ‖ device (ASCII)
    body            = 0x01 ‖ (length u16 ‖ signed envelope)*

Integers are big-endian. The header has one encoding only, so its bytes are both what is parsed
and what the cipher and the signature bind. docs/record.md is the published form of this page.
"""

from __future__ import annotations

import string
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from firmware.errors import SealError

VERSION = 1
BODY_VERSION = 1
MAX_BODY = 3840
"""Bytes of one hub message. Azure meters 4 KiB blocks of body and properties together."""
MAX_NUMBER = 2**63 - 1
KEY_ID_BYTES = 8
SIGNATURE_BYTES = 64

_MAGIC = b"FLOW"
_FIXED = struct.Struct(f">4sBBB{KEY_ID_BYTES}sQB")
_LENGTH = struct.Struct(">H")
_DEVICE_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-._:")
_MAX_DEVICE = 64


class Suite(IntEnum):
    """HPKE suites (RFC 9180), each with HKDF-SHA256 and AES-256-GCM."""

    MLKEM768_X25519 = 1
    """Safe against a later quantum computer; 1,120 bytes of encapsulated key."""
    X25519 = 2
    """DHKEM(X25519, HKDF-SHA256); 32 bytes of encapsulated key."""


class Kind(IntEnum):
    """What the ciphertext holds. Each kind of a device is numbered on its own."""

    INTERACTION = 1
    HEALTH = 2


class Header(NamedTuple):
    """The plain part of an envelope."""

    suite: Suite
    kind: Kind
    key_id: bytes
    number: int
    device: str

    def encode(self) -> bytes:
        """The header's bytes.

        Raises:
            SealError: the device's name or the number has no place in a header.
        """
        if not is_device(self.device):
            raise SealError(
                "the device's name cannot stand in an envelope",
                remedy=f"use 1 to {_MAX_DEVICE} characters out of A-Z a-z 0-9 - . _ :",
            )
        if not 0 <= self.number <= MAX_NUMBER:
            raise SealError(
                "the record's number cannot stand in an envelope",
                remedy=f"use a number from 0 to {MAX_NUMBER}",
            )
        return _FIXED.pack(
            _MAGIC,
            VERSION,
            self.suite,
            self.kind,
            self.key_id,
            self.number,
            len(self.device),
        ) + self.device.encode("ascii")


def is_device(name: str) -> bool:
    """Whether `name` can be a device's: a subset of what IoT Hub, DPS and a CN all allow."""
    return 0 < len(name) <= _MAX_DEVICE and _DEVICE_CHARACTERS.issuperset(name)


def split(envelope: bytes) -> tuple[Header, bytes, bytes]:
    """Parse an envelope: its header, the header's bytes, and all that follows.

    Raises:
        SealError: it is no envelope of a version, suite and kind that this release knows.
    """
    if len(envelope) < _FIXED.size:
        raise _malformed("shorter than a header")
    magic, version, suite, kind, key_id, number, length = _FIXED.unpack_from(envelope)
    if magic != _MAGIC:
        raise _malformed("does not begin like one")
    if version != VERSION:
        raise SealError(
            f"envelope of version {version}", remedy="read it with a newer release of the reader"
        )
    end = _FIXED.size + length
    device = envelope[_FIXED.size : end].decode("latin-1")
    if len(device) != length or not is_device(device):
        raise _malformed("device name is cut off or holds other characters")
    if number > MAX_NUMBER:
        raise _malformed("number out of range")
    try:
        header = Header(Suite(suite), Kind(kind), key_id, number, device)
    except ValueError:
        raise _malformed(f"unknown suite {suite} or kind {kind}") from None
    return header, envelope[:end], envelope[end:]


def split_signature(signed: bytes) -> tuple[bytes, bytes]:
    """A signed envelope → the envelope, and the 64 bytes of its signature.

    Raises:
        SealError: there is no room for a signature.
    """
    if len(signed) <= SIGNATURE_BYTES:
        raise _malformed("no signature")
    return signed[:-SIGNATURE_BYTES], signed[-SIGNATURE_BYTES:]


def pack(signed: Sequence[bytes]) -> tuple[bytes, int]:
    """One hub message of at most `MAX_BODY` bytes with as many of the first envelopes as fit.

    Returns: the body, and how many envelopes it took (at least one).

    Raises:
        SealError: there is none, or the first one alone is too large.
    """
    body = bytearray((BODY_VERSION,))
    taken = 0
    for envelope in signed:
        if len(body) + _LENGTH.size + len(envelope) > MAX_BODY:
            break
        body += _LENGTH.pack(len(envelope)) + envelope
        taken += 1
    if not taken:
        raise SealError(
            "no envelope fits into a hub message", remedy=f"pass envelopes below {MAX_BODY} bytes"
        )
    return bytes(body), taken


def unpack(body: bytes) -> list[bytes]:
    """The signed envelopes of one hub message, in order; the inverse of `pack`.

    Raises:
        SealError: the body is not exactly a version byte and whole envelopes.
    """
    if body[:1] != bytes((BODY_VERSION,)) or len(body) < 2:
        raise _malformed("hub message does not begin with a known version")
    envelopes = []
    at = 1
    while at < len(body):
        start = at + _LENGTH.size
        if start > len(body):
            raise _malformed("hub message ends inside a length")
        at = start + int(_LENGTH.unpack_from(body, start - _LENGTH.size)[0])
        if not start < at <= len(body):
            raise _malformed("hub message ends inside an envelope")
        envelopes.append(body[start:at])
    return envelopes


def _malformed(why: str) -> SealError:
    return SealError(
        f"malformed envelope: {why}",
        remedy="check what wrote it: it was altered or cut off on the way, or is no sensor's",
    )
