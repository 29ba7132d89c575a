"""The server's side of WebSocket (RFC 6455) with the subprotocol `mqtt`: octets in, octets out."""

from __future__ import annotations

import base64
import hashlib

from hil.local_hub.mqtt import ProtocolError

MAX_REQUEST = 16 * 1024
MAX_FRAME = 1024 * 1024
PATH = "/$iothub/websocket"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


class WebSocketWire:
    """The HTTP upgrade, then frames. MQTT packets may be split over frames in any way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._upgraded = False
        self._in_message = False

    def received(self, octets: bytes) -> tuple[bytes, bytes]:
        """Octets from the network → (octets for MQTT, octets to send back at once).

        Raises:
            ProtocolError: no upgrade to MQTT over WebSocket, or a frame that no client may send.
        """
        self._buffer += octets
        reply = b""
        if not self._upgraded:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0 or end > MAX_REQUEST:
                if len(self._buffer) > MAX_REQUEST:
                    raise ProtocolError("the upgrade request has no end")
                return b"", b""
            reply = upgrade(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            self._upgraded = True
        payload, answers = self._frames()
        return payload, reply + answers

    def sending(self, octets: bytes) -> bytes:
        return frame(_BINARY, octets)

    def _frames(self) -> tuple[bytes, bytes]:
        payload, answers = bytearray(), bytearray()
        while (header := self._header()) is not None:
            opcode, final, start, length = header
            if len(self._buffer) < start + length:
                break
            mask = self._buffer[start - 4 : start]
            content = _unmasked(self._buffer[start : start + length], mask)
            del self._buffer[: start + length]
            if opcode == _PING:
                answers += frame(_PONG, content)
            elif opcode == _CLOSE:
                answers += frame(_CLOSE, content[:2])
            elif opcode in (_BINARY, _CONTINUATION):
                if (opcode == _CONTINUATION) != self._in_message:
                    raise ProtocolError("a fragment out of turn")
                self._in_message = not final
                payload += content
        return bytes(payload), bytes(answers)

    def _header(self) -> tuple[int, bool, int, int] | None:
        """(opcode, last fragment, where the payload starts, its length), or None: not all here."""
        if len(self._buffer) < 2:
            return None
        first, second = self._buffer[0], self._buffer[1]
        opcode, final, length = first & 0x0F, bool(first & 0x80), second & 0x7F
        control = opcode in (_CLOSE, _PING, _PONG)
        if first & 0x70 or not (control or opcode in (_CONTINUATION, _BINARY)):
            raise ProtocolError(f"frame header {first:#04x}")
        if not second & 0x80:
            raise ProtocolError("a client's frame must be masked")
        if control and (length > 125 or not final):
            raise ProtocolError("a control frame that is long or fragmented")
        start = 2 + {126: 2, 127: 8}.get(length, 0)
        if len(self._buffer) < start + 4:
            return None
        if length > 125:
            length = int.from_bytes(self._buffer[2:start], "big")
        if length > MAX_FRAME:
            raise ProtocolError(f"a frame of {length} octets")
        return opcode, final, start + 4, length


def upgrade(request: bytes) -> bytes:
    """The answer to an upgrade request (without its empty line).

    Raises:
        ProtocolError: it is no upgrade to MQTT over WebSocket, version 13.
    """
    first, *lines = request.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    method, _, rest = first.partition(" ")
    asked = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    protocols = {word.strip() for word in headers.get("sec-websocket-protocol", "").split(",")}
    if (
        method != "GET"
        or rest.split("?")[0].split(" ")[0] not in (PATH, "/mqtt")
        or headers.get("upgrade", "").lower() != "websocket"
        or "upgrade" not in asked
        or headers.get("sec-websocket-version") != "13"
        or "mqtt" not in protocols
    ):
        raise ProtocolError("no upgrade to MQTT over WebSocket")
    key = headers.get("sec-websocket-key", "").encode("latin-1")
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    ).encode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked frame, as a server sends it."""
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, length))
    elif length < 1 << 16:
        head = bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")
    return head + payload


def _unmasked(payload: bytearray, mask: bytearray) -> bytes:
    """Payload xor the mask repeated: done on one long integer, which is fast in Python."""
    length = len(payload)
    pad = (bytes(mask) * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")
