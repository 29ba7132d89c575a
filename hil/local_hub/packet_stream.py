"""Octets → packets of MQTT 3.1.1.

Pure: no socket, no state but the octets of a packet that is not complete yet. Whatever comes in,
out comes a packet or a ProtocolError, and no more is kept than the limit allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hil.local_hub.mqtt import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    ProtocolError,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
)

_PUBLISH = 3


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
    if buffer:
        _check_type(buffer[0])
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


def _check_type(first: int) -> None:
    kind, flags = first >> 4, first & 0x0F
    expected = 2 if kind in (8, 10) else 0
    if kind != _PUBLISH and (kind not in _READERS or flags != expected):
        raise ProtocolError(f"packet type {kind} with flags {flags}")


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
    _check_type(first)
    content = _Body(body)
    kind = first >> 4
    packet = _publish(first & 0x0F, content) if kind == _PUBLISH else _READERS[kind](content)
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
