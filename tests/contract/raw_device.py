"""A device by hand: MQTT packets over TLS, so that a test sees every one of them."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from hil.local_hub import mqtt
from hil.local_hub.packet_stream import PacketStream

PATIENCE_S = 20.0
UPGRADE = (
    "GET /$iothub/websocket HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)

P = TypeVar("P", bound=mqtt.Packet)


class RawDevice:
    """One connection. Every wait ends after `PATIENCE_S` with an error."""

    def __init__(
        self,
        host: str,
        trust: Path,
        certificate: tuple[str, str] | None = None,
        *,
        port: int = 8883,
        websocket: bool = False,
    ) -> None:
        context = ssl.create_default_context(cafile=str(trust))
        if certificate:
            context.load_cert_chain(*certificate)
        raw = socket.create_connection((host, port), PATIENCE_S)
        try:
            self.socket = context.wrap_socket(raw, server_hostname=host)
        except OSError:
            raw.close()
            raise
        self._packets = self._received()
        self._websocket = websocket
        if websocket:
            self.socket.sendall(UPGRADE.format(base64.b64encode(os.urandom(16)).decode()).encode())
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += self.socket.recv(1)
            assert answer.startswith(b"HTTP/1.1 101 "), answer

    def __enter__(self) -> RawDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *packets: mqtt.Packet) -> None:
        """All of them at once, in one write."""
        octets = b"".join(packet.encode() for packet in packets)
        if self._websocket:
            mask = os.urandom(4)
            masked = bytes(one ^ mask[at % 4] for at, one in enumerate(octets))
            head = bytes((0x82, 0x80 | 126)) + len(octets).to_bytes(2, "big")
            octets = head + mask + masked
        self.socket.sendall(octets)

    def receive(self, kind: type[P]) -> P:
        """The next packet, which must be of that kind."""
        packet = next(self._packets)
        assert isinstance(packet, kind), packet
        return packet

    def is_ended(self) -> bool:
        """Whether the hub ends the connection instead of sending anything more."""
        try:
            return next(self._packets, None) is None
        except (ConnectionError, ssl.SSLError):
            return True

    def hears_nothing(self, seconds: float) -> bool:
        self.socket.settimeout(seconds)
        try:
            return not self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)

    def connect(
        self, device: str, hub: str, *, clean_session: bool = False, keep_alive_s: int = 60
    ) -> mqtt.Connack:
        user = f"{hub}/{device}/?api-version=2019-10-01"
        self.send(mqtt.Connect(device, user, None, clean_session, keep_alive_s))
        return self.receive(mqtt.Connack)

    def subscribe(self, *topics: str) -> tuple[int, ...]:
        self.send(mqtt.Subscribe(77, tuple((topic, 1) for topic in topics)))
        return self.receive(mqtt.Suback).codes

    def publish(self, device: str, body: bytes, packet_id: int = 1) -> mqtt.Publish:
        """Send one telemetry message, named `m{packet_id}`."""
        topic = f"devices/{device}/messages/events/%24.mid=m{packet_id}"
        packet = mqtt.Publish(topic, body, 1, packet_id)
        self.send(packet)
        return packet

    def _received(self) -> Iterator[Any]:
        stream = PacketStream(1 << 20)
        while chunk := self.socket.recv(65536):
            if self._websocket:
                # The hub's answers here are short: one frame each, with a header of two octets.
                chunk = b"".join(_payloads(chunk))
            yield from stream.feed(chunk)


def _payloads(frames: bytes) -> Iterator[bytes]:
    while frames:
        length = frames[1]
        yield frames[2 : 2 + length]
        frames = frames[2 + length :]
