"""MQTT 3.1.1 packets ↔ bytes (OASIS standard of 29 October 2014), QoS 0 and 1.

Pure: no socket, no state but the bytes of a packet that is not complete yet. Whatever comes in,
out comes a packet or a ProtocolError, and no more is kept than the limit allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


class PacketStream:
    """Bytes as they arrive → packets. `limit` bounds the body of one packet, in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Packet]:
        """Packets that are complete with this chunk.

        Raises:
            ProtocolError: the stream is no MQTT; it cannot be read any further.
        """
        self._buffer += chunk
        while (header := _fixed_header(self._buffer, self._limit)) is not None:
            start, length = header
            if len(self._buffer) < start + length:
                return
            first, body = self._buffer[0], bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            yield decode(first, body)


def _fixed_header(buffer: bytearray, limit: int) -> tuple[int, int] | None:
    """(where the body starts, its length), or None while that is not known yet."""
    length = 0
    for index in range(1, 5):
        if index >= len(buffer):
            return None
        length |= (buffer[index] & 0x7F) << 7 * (index - 1)
        if length > limit:
            raise ProtocolError(f"a packet of {length} bytes is over the limit of {limit}")
        if not buffer[index] & 0x80:
            return index + 1, length
    raise ProtocolError("the length field is over four bytes")


class _Body:
    """A packet's body, read from front to back."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._octets[self._at : self._at + count]
        if len(piece) < count:
            raise ProtocolError("the packet ends too early")
        self._at += count
        return piece

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        try:
            text = self.binary().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError("a string is not UTF-8") from error
        if "\0" in text:
            raise ProtocolError("a string holds U+0000")
        return text

    def packet_id(self) -> int:
        number = self.number(2)
        if number == 0:
            raise ProtocolError("packet id 0")
        return number

    def rest(self) -> bytes:
        return self.take(len(self._octets) - self._at)

    def more(self) -> bool:
        return self._at < len(self._octets)


def decode(first: int, body: bytes) -> Packet:
    """One packet from its first octet and its body.

    Raises:
        ProtocolError: they are no packet of MQTT 3.1.1.
    """
    kind, flags = first >> 4, first & 0x0F
    content = _Body(body)
    if kind == 3:
        packet: Packet = _publish(flags, content)
    elif kind in _READERS and flags == (2 if kind in (8, 10) else 0):
        packet = _READERS[kind](content)
    else:
        raise ProtocolError(f"packet type {kind} with flags {flags}")
    if content.more():
        raise ProtocolError("octets after the end of the packet")
    return packet


def _connect(content: _Body) -> Connect:
    protocol, level, flags = content.text(), content.number(1), content.number(1)
    if (protocol, level) != ("MQTT", 4):
        raise ProtocolError(f"protocol {protocol[:20]!r} level {level}")
    will_qos = flags >> 3 & 3
    if flags & 0x01 or will_qos > 1 or (flags & 0xC0) == 0x40 or (flags & 0x3C and not flags & 4):
        raise ProtocolError(f"connect flags {flags:#04x}")
    keep_alive_s, client_id = content.number(2), content.text()
    will = None
    if flags & 0x04:
        topic, payload = content.text(), content.binary()
        will = Publish(topic, payload, will_qos, None, bool(flags & 0x20))
    username = content.text() if flags & 0x80 else None
    password = content.binary() if flags & 0x40 else None
    return Connect(client_id, username, password, bool(flags & 0x02), keep_alive_s, will)


def _connack(content: _Body) -> Connack:
    flags, code = content.number(1), content.number(1)
    if flags > 1:
        raise ProtocolError(f"acknowledge flags {flags:#04x}")
    return Connack(code, bool(flags))


def _publish(flags: int, content: _Body) -> Publish:
    qos = flags >> 1 & 3
    if qos > 1:
        raise ProtocolError(f"QoS {qos}")
    topic = content.text()
    if not topic or "+" in topic or "#" in topic:
        raise ProtocolError("a publish needs a topic without wildcards")
    packet_id = content.packet_id() if qos else None
    return Publish(topic, content.rest(), qos, packet_id, bool(flags & 1), bool(flags & 8))


def _filters(content: _Body) -> Iterator[tuple[str, int]]:
    if not content.more():
        raise ProtocolError("a subscription without a filter")
    while content.more():
        topic, qos = content.text(), content.number(1)
        if not topic or qos > 2:
            raise ProtocolError("a subscription to nothing, or with an unknown QoS")
        yield topic, qos


def _names(content: _Body) -> Iterator[str]:
    if not content.more():
        raise ProtocolError("an unsubscription without a filter")
    while content.more():
        yield content.text()


_READERS: dict[int, Callable[[_Body], Packet]] = {
    1: _connect,
    2: _connack,
    4: lambda content: Puback(content.packet_id()),
    8: lambda content: Subscribe(content.packet_id(), tuple(_filters(content))),
    9: lambda content: Suback(content.packet_id(), tuple(content.rest())),
    10: lambda content: Unsubscribe(content.packet_id(), tuple(_names(content))),
    11: lambda content: Unsuback(content.packet_id()),
    12: lambda _: Pingreq(),
    13: lambda _: Pingresp(),
    14: lambda _: Disconnect(),
}
"""Packet type (section 2.2.1) → how its body is read; PUBLISH also needs the flags."""


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
