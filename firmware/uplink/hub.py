"""One connection to an IoT hub, as the uplink sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from firmware.uplink.identity import Identity

KEEP_ALIVE_S = 25
"""A silent network is noticed within two of these, also when nothing is sent."""


@dataclass(frozen=True)
class Endpoint:
    """Where a hub or a registration service is and how to trust it.

    Attributes:
        host: the service's own name, which the protocol speaks of.
        gateway: address to connect to instead; "" for `host` itself.
        trust: PEM text of the roots that the server's certificate must chain to; "": the system's.
        websockets: MQTT over websockets on port 443 instead of plain MQTT on 8883.
    """

    host: str
    gateway: str = ""
    trust: str = ""
    websockets: bool = False


class Listener(Protocol):
    """What a hub tells by itself. Called from the driver's threads: answer at once."""

    def lost(self) -> None:
        """The connection is gone; this hub object will not come back."""

    def desired(self, properties: dict[str, Any]) -> None:
        """The twin's desired properties changed: a patch, with `$version`."""

    def called(self, request: str, name: str, payload: dict[str, Any]) -> None:
        """A direct method was called; answer through `Hub.respond` with the same request."""


class Cloud(Protocol):
    """What a vendor's driver offers."""

    def hub(self, endpoint: Endpoint, identity: Identity, listener: Listener) -> Hub:
        """A hub that is not connected yet. Raises SensorError when the identity is unusable."""

    def register(
        self, endpoint: Endpoint, identity: Identity, id_scope: str, payload: dict[str, Any]
    ) -> str:
        """Register with the provisioning service → the host name of the assigned hub.

        Blocks, also for the time that the service asks to wait between attempts.

        Raises:
            ProvisioningError: the service refuses the device.
            UplinkError: the service cannot be reached.
        """


class Hub(Protocol):
    """A connection that is used once: after `close` or a loss, make another.

    Every method blocks until the hub has answered and may block without end: the caller watches
    the time. All but `close` raise UplinkError when the hub cannot be reached or the connection
    breaks, and ProvisioningError when it refuses the identity.
    """

    def connect(self) -> None:
        """Connect and subscribe to desired properties and methods."""

    def send(self, body: bytes, message_id: str, properties: Mapping[str, str]) -> None:
        """Send one device-to-cloud message; returns when the hub has acknowledged it.

        After an error the message may still have arrived: send it again under the same id.
        """

    def twin(self) -> dict[str, Any]:
        """The whole twin: `{"desired": {…}, "reported": {…}}`."""

    def report(self, patch: dict[str, Any]) -> bool:
        """Merge a patch into the twin's reported properties; False when the hub refuses it."""

    def respond(self, request: str, status: int, payload: dict[str, Any]) -> None:
        """Answer a method call."""

    def close(self) -> None:
        """Disconnect and free everything, also after an error; raises nothing."""
