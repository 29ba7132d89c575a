"""A source of time for a rig's board: SNTP (RFC 4330), this machine's clock."""

from __future__ import annotations

import socket
import struct
import threading
import time

_PACKET = struct.Struct(">BBBbII4s8s8s8s8s")
_TO_1900_S = 2_208_988_800
_SERVER = 0o44
"""No leap second, version 4, mode of a server."""


class TimeServer(threading.Thread):
    """Answers until it is closed.

    Args:
        host: address of this machine.
        port: 123 is where boards ask, and only root may have it; 0: any.
    """

    def __init__(self, host: str, port: int = 123) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.port = self._socket.getsockname()[1]
        self._open = True
        self.start()

    def run(self) -> None:
        while True:
            asked, address = self._socket.recvfrom(512)
            if not self._open:
                return
            if len(asked) >= _PACKET.size:
                self._socket.sendto(_answer(asked), address)

    def close(self) -> None:
        self._open = False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self.join()
        self._socket.close()


def _answer(asked: bytes) -> bytes:
    now = int((time.time() + _TO_1900_S) * 2**32).to_bytes(8, "big")
    sent = _PACKET.unpack(asked[: _PACKET.size])[-1]
    return _PACKET.pack(_SERVER, 1, 6, -20, 0, 0, b"LOCL", now, sent, now, now)
