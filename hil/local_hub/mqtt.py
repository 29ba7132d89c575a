"""The packets of MQTT 3.1.1 (OASIS standard of 29 October 2014), QoS 0 and 1, and their octets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

ACCEPTED, SERVER_UNAVAILABLE, BAD_CREDENTIALS, NOT_AUTHORISED = 0, 3, 4, 5
"""Return codes of CONNACK (section 3.2.2.3)."""

SUBSCRIPTION_REFUSED = 0x80


class ProtocolError(Exception):
    """The bytes are not MQTT 3.1.1, or ask for more than IoT Hub gives: close the connection."""


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int | None = None
    """1 … 65535 with QoS 1, else None."""
    retain: bool = False
    duplicate: bool = False

    def encode(self) -> bytes:
        flags = self.retain | self.qos << 1 | self.duplicate << 3
        number = b"" if self.packet_id is None else _u16(self.packet_id)
        return _framed(0x30 | flags, _text(self.topic) + number + self.payload)


@dataclass(frozen=True, slots=True)
class Connect:
    client_id: str
    username: str | None = None
    password: bytes | None = None
    clean_session: bool = True
    keep_alive_s: int = 0
    will: Publish | None = None

    def encode(self) -> bytes:
        flags = self.clean_session << 1
        rest = _u16(self.keep_alive_s) + _text(self.client_id)
        if self.will is not None:
            flags |= 0x04 | self.will.qos << 3 | self.will.retain << 5
            rest += _text(self.will.topic) + _binary(self.will.payload)
        if self.username is not None:
            flags |= 0x80
            rest += _text(self.username)
        if self.password is not None:
            flags |= 0x40
            rest += _binary(self.password)
        return _framed(0x10, _text("MQTT") + bytes((4, flags)) + rest)


@dataclass(frozen=True, slots=True)
class Connack:
    code: int
    session_present: bool = False

    def encode(self) -> bytes:
        return _framed(0x20, bytes((self.session_present, self.code)))


@dataclass(frozen=True, slots=True)
class Puback:
    packet_id: int

    def encode(self) -> bytes:
        return _framed(0x40, _u16(self.packet_id))


@dataclass(frozen=True, slots=True)
class Subscribe:
    packet_id: int
    topics: tuple[tuple[str, int], ...]
    """Filter and wanted QoS of each."""

    def encode(self) -> bytes:
        topics = b"".join(_text(topic) + bytes((qos,)) for topic, qos in self.topics)
        return _framed(0x82, _u16(self.packet_id) + topics)


@dataclass(frozen=True, slots=True)
class Suback:
    packet_id: int
    codes: tuple[int, ...]

    def encode(self) -> bytes:
        return _framed(0x90, _u16(self.packet_id) + bytes(self.codes))


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    packet_id: int
    topics: tuple[str, ...]

    def encode(self) -> bytes:
        return _framed(0xA2, _u16(self.packet_id) + b"".join(map(_text, self.topics)))


@dataclass(frozen=True, slots=True)
class Unsuback:
    packet_id: int

    def encode(self) -> bytes:
        return _framed(0xB0, _u16(self.packet_id))


@dataclass(frozen=True, slots=True)
class Pingreq:
    def encode(self) -> bytes:
        return _framed(0xC0, b"")


@dataclass(frozen=True, slots=True)
class Pingresp:
    def encode(self) -> bytes:
        return _framed(0xD0, b"")


@dataclass(frozen=True, slots=True)
class Disconnect:
    def encode(self) -> bytes:
        return _framed(0xE0, b"")


Packet: TypeAlias = (
    Connect
    | Connack
    | Publish
    | Puback
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _binary(octets: bytes) -> bytes:
    return _u16(len(octets)) + octets


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _framed(first: int, body: bytes) -> bytes:
    head, length = bytearray((first,)), len(body)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body
