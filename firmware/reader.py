"""Opening and checking what sensors sent: the library that the analytics side imports.

    reader = Reader(keys, trust)
    for message in hub:                                # device id as the hub authenticated it
        reading = reader.read(message.body, message.device)
        store(reading.records)

A record counts once: it is signed by a key that was issued to the device whose connection it came
over, opens with the recipient's key, keeps its schema, and its number is new. Anything else is
refused as a SealError; no input makes a reader raise anything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from firmware.device_trust import DeviceTrust
from firmware.envelope import Kind, split, split_signature, unpack
from firmware.errors import SealError
from firmware.recipient import PrivateKey
from firmware.record import HealthBody, Interaction
from firmware.signature import verify


class _Versioned(msgspec.Struct):
    schema: int


_SCHEMAS: dict[tuple[Kind, int], msgspec.json.Decoder[Any]] = {
    (Kind.INTERACTION, 1): msgspec.json.Decoder(Interaction),
    (Kind.HEALTH, 1): msgspec.json.Decoder(HealthBody),
}
"""Every version that was ever released; tests/vectors holds each of them to it."""
_schema = msgspec.json.Decoder(_Versioned)
_DIGEST_BYTES = 8


class Opened(msgspec.Struct, frozen=True):
    """One record, opened and checked.

    Attributes:
        kind: `interaction` or `health`.
        record: an `Interaction`, or the health record as it was sent.
    """

    device: str
    kind: str
    number: int
    record: Interaction | HealthBody


class Memory(Protocol):
    """Which records were read before."""

    def add(self, device: str, kind: str, number: int, digest: bytes) -> bytes | None:
        """Keep the 8-byte `digest` of a record, unless one is kept under that number already.

        Returns: the one that was kept already; None when the record is new.
        """


class RamMemory:
    """All records since it was made; about 150 bytes for each.

    A service keeps this in its database: `INSERT … ON CONFLICT DO NOTHING` on (device, kind,
    number), in the transaction that stores the records, so that a crash loses and doubles none.
    """

    def __init__(self) -> None:
        self._digests: dict[tuple[str, str], dict[int, bytes]] = {}

    def add(self, device: str, kind: str, number: int, digest: bytes) -> bytes | None:
        digests = self._digests.setdefault((device, kind), {})
        before = digests.get(number)
        if before is None:
            digests[number] = digest
        return before


@dataclass(slots=True)
class Coverage:
    """Interaction numbers of one device as this reader saw them."""

    first: int
    last: int
    read: int = 1

    @property
    def missing(self) -> int:
        """Numbers between the first and the last that have not arrived: the most that were lost.

        A device that lost its power also leaves out what was left of its block of numbers.
        """
        return self.last - self.first + 1 - self.read

    def add(self, number: int) -> None:
        self.first = min(self.first, number)
        self.last = max(self.last, number)
        self.read += 1


@dataclass(slots=True)
class Reading:
    """What one hub message held."""

    records: list[Opened] = field(default_factory=list)
    duplicates: int = 0
    refused: list[SealError] = field(default_factory=list)


class Reader:
    """Opens hub messages. One for each worker; workers may share `memory`.

    Args:
        keys: the recipient's private keys: the present one, and retired ones whose records may
            still be on their way.
        trust: certificates of the devices; may be replaced while the reader runs.
        memory: what was read before.

    Attributes:
        coverage: device → its interaction numbers, for gaps.
    """

    def __init__(
        self, keys: Iterable[PrivateKey], trust: DeviceTrust, memory: Memory | None = None
    ) -> None:
        self._keys = {key.key_id: key for key in keys}
        self.trust = trust
        self._memory = RamMemory() if memory is None else memory
        self.coverage: dict[str, Coverage] = {}

    def read(self, body: bytes, device: str) -> Reading:
        """Read one hub message; a bad envelope in it does not hold up the others.

        Args:
            device: the id that the hub authenticated (`iothub-connection-device-id`).
        """
        reading = Reading()
        try:
            envelopes = unpack(body)
        except SealError as error:
            reading.refused.append(error)
            return reading
        for signed in envelopes:
            try:
                opened = self.open(signed, device)
                if self._is_new(opened, signed):
                    reading.records.append(opened)
                else:
                    reading.duplicates += 1
            except SealError as error:
                reading.refused.append(error)
        return reading

    def open(self, signed: bytes, device: str) -> Opened:
        """Open one signed envelope and check all but whether it was read before.

        Raises:
            SealError: malformed, altered, from another device, or for another recipient.
        """
        envelope, signature = split_signature(signed)
        header, info, ciphertext = split(envelope)
        if header.device != device:
            raise SealError(
                f"an envelope of {header.device!r} came over the connection of {device!r}",
                remedy="find out who sent it: it was replayed, or a device has a wrong identity",
            )
        keys = self.trust.keys(device)
        if not any(verify(key, signature, envelope) for key in keys):
            raise SealError(
                f"envelope of {device!r} is not signed by "
                + ("a key that was issued to it" if keys else "a device known here"),
                remedy="add the device's newest certificate to the folder; if it is there, the "
                "envelope was altered or forged: drop it",
            )
        private = self._keys.get(header.key_id)
        if private is None or private.suite is not header.suite:
            raise SealError(
                f"envelope is sealed to key {header.key_id.hex()}, which is not here",
                remedy="pass that private key too, or give the device the present public key",
            )
        record = _record(header.kind, private.decrypt(ciphertext, info))
        return Opened(device, header.kind.name.lower(), header.number, record)

    def _is_new(self, opened: Opened, signed: bytes) -> bool:
        # A device that sends again may sign again, and ECDSA then gives another signature: what
        # makes two envelopes one is what was signed.
        envelope, _ = split_signature(signed)
        digest = hashlib.sha256(envelope).digest()[:_DIGEST_BYTES]
        before = self._memory.add(opened.device, opened.kind, opened.number, digest)
        if before is None:
            if opened.kind == "interaction":
                self._cover(opened.device, opened.number)
            return True
        if before != digest:
            raise SealError(
                f"{opened.kind} {opened.number} of {opened.device!r} came twice, not the same",
                remedy="find the second device with this identity and revoke it",
            )
        return False

    def _cover(self, device: str, number: int) -> None:
        coverage = self.coverage.get(device)
        if coverage is None:
            self.coverage[device] = Coverage(number, number)
        else:
            coverage.add(number)


def _record(kind: Kind, text: bytes) -> Interaction | HealthBody:
    try:
        version = _schema.decode(text).schema
        decoder = _SCHEMAS.get((kind, version))
        if decoder is not None:
            record: Interaction | HealthBody = decoder.decode(text)
            return record
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SealError(
            f"a record of kind {kind.name.lower()} breaks its schema",
            remedy="the device's software is at fault: note its firmware version and update it",
        ) from error
    raise SealError(
        f"a record of kind {kind.name.lower()} has schema {version}",
        remedy="read it with a newer release of the reader",
    )
