"""One client's octets: TLS stream in and out, cut into packets, and the ways it can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from hil.local_hub import mqtt
from hil.local_hub.iot_hub import MAX_MESSAGE
from hil.local_hub.packet_stream import PacketStream
from hil.local_hub.wire import Wire


class Link:
    """A client's connection below MQTT."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: Wire
    ) -> None:
        self._reader, self._writer, self._wire = reader, writer, wire
        self._packets = PacketStream(MAX_MESSAGE + 64 * 1024)
        self.tls = writer.get_extra_info("ssl_object")
        self.is_silent = False
        """Nothing is heard or said any more, though the connection stays open."""
        self.is_ended = False
        """Nothing is heard or said any more, and the connection is being closed."""

    async def run(self, receive: Callable[[mqtt.Packet], None]) -> None:
        """Give every packet to `receive` until either side ends it.

        Raises:
            mqtt.ProtocolError: the client speaks no MQTT, or `receive` does not take a packet.
        """
        try:
            while not self.is_ended and (chunk := await self._reader.read(65536)):
                if not self.is_silent:
                    self._hear(chunk, receive)
                    await self._writer.drain()
        except OSError:
            pass  # the peer is gone, or the TLS session was broken off: nothing left to say
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.close()

    def send(self, packet: mqtt.Packet) -> None:
        if not self.is_ended and not self.is_silent:
            self._writer.write(self._wire.sending(packet.encode()))

    def send_garbage(self, octets: bytes) -> None:
        self._writer.write(octets)

    def abort(self) -> None:
        """Reset the TCP connection: no close_notify, no FIN, what is not sent yet is lost."""
        self.is_ended = True
        raw = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def _hear(self, chunk: bytes, receive: Callable[[mqtt.Packet], None]) -> None:
        octets, reply = self._wire.received(chunk)
        if reply:
            self._writer.write(reply)
        for packet in self._packets.feed(octets):
            receive(packet)
            if self.is_ended or self.is_silent:
                break
