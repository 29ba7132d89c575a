"""What lies between TLS and MQTT: nothing on port 8883, WebSocket frames on port 443."""

from __future__ import annotations

from typing import Protocol


class Wire(Protocol):
    def received(self, octets: bytes) -> tuple[bytes, bytes]:
        """Octets from the network → (octets for MQTT, octets to send back at once)."""

    def sending(self, octets: bytes) -> bytes:
        """Octets of one MQTT packet → octets for the network."""


class PlainWire:
    def received(self, octets: bytes) -> tuple[bytes, bytes]:
        return octets, b""

    def sending(self, octets: bytes) -> bytes:
        return octets
