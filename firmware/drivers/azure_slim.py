"""Keeps the SDK from loading what a sensor never uses. Import this before `azure.iot.device`.

File upload and IoT Edge are the only parts that need `requests`, and each client makes a second
TLS context for them: 6 MB of the uplink's 47 MB resident. Both are replaced by empty modules.

The SDK's MQTT client wakes itself through a pair of sockets that it makes by listening on a port of
127.0.0.1 for a moment. A sensor listens nowhere, and its unit lets it not try: it gets a real pair.
"""

from __future__ import annotations

import socket
import sys
from types import ModuleType

from paho.mqtt import client as _mqtt


class _NoTransport:
    """Stands where the SDK keeps its HTTP connection; nothing ever asks it for anything."""

    def __init__(self, **_: object) -> None:
        pass


_transport = ModuleType("azure.iot.device.common.http_transport")
_transport.HTTPTransport = _NoTransport  # type: ignore[attr-defined]
sys.modules.setdefault(_transport.__name__, _transport)
sys.modules.setdefault(
    "azure.iot.device.iothub.edge_hsm", ModuleType("azure.iot.device.iothub.edge_hsm")
)


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


assert callable(_mqtt._socketpair_compat)
_mqtt._socketpair_compat = _pair
