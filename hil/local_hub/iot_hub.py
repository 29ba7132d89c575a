"""What IoT Hub means by the packets of a device: no transport, no clock of its own.

Topics, status codes and limits as in "Communicate with an IoT hub using the MQTT protocol"
(Microsoft, 2024) and as the azure-iot-device SDK writes them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from cryptography import x509

from hil.local_hub import json_text, mqtt
from hil.local_hub.credentials import (
    Chain,
    anchor,
    common_name,
    thumbprints,
    token_expiry,
    within_validity,
)
from hil.local_hub.twin import Properties, TwinError

MAX_MESSAGE = 256 * 1024
"""Octets of a telemetry message, body and properties together."""

TWIN_ANSWERS = "$iothub/twin/res/#"
TWIN_PATCHES = "$iothub/twin/PATCH/properties/desired/#"
METHODS = "$iothub/methods/POST/#"

_SYSTEM_PROPERTIES = {
    "$.mid": "message-id",
    "$.cid": "correlation-id",
    "$.uid": "user-id",
    "$.ct": "content-type",
    "$.ce": "content-encoding",
    "$.exp": "absolute-expiry-time",
    "$.on": "output-name",
    "$.ifid": "interface-id",
}


class RefusedError(Exception):
    """A device may not connect: the CONNACK code, and why for the operator's log."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class Device:
    """One entry of a hub's registry. It proves itself by any of the three ways it has."""

    id: str
    keys: tuple[str, ...] = ()
    """Symmetric keys, base64."""
    thumbprints: tuple[str, ...] = ()
    """SHA-1 or SHA-256 of its certificates, hexadecimal capitals."""
    certificates: tuple[x509.Certificate, ...] = ()
    """Its certificates themselves, as a self-signed one can only be known by."""
    by_authority: bool = False
    """A certificate from the hub's device authorities with the device's name as common name."""
    enabled: bool = True
    desired: Properties = field(default_factory=Properties)
    reported: Properties = field(default_factory=Properties)
    subscriptions: set[str] = field(default_factory=set)
    """The session: what stays subscribed while the device is away."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A device that may stay until `expires_at_s` (Unix), the end of its token."""

    device: Device
    expires_at_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Telemetry:
    hub: str
    device: str
    body: bytes
    properties: dict[str, str]
    system: dict[str, str]
    at: float
    """When the hub took it, Unix seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    topic: str
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class MethodResult:
    request: str
    status: int
    payload: Any


Outcome: TypeAlias = Telemetry | Answer | MethodResult


class IotHub:
    """One hub: a registry of devices, their twins and sessions."""

    def __init__(
        self,
        name: str,
        authorities: Iterable[x509.Certificate] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.authorities = list(authorities)
        self.devices: dict[str, Device] = {}
        self._clock = clock

    def admit(self, connect: mqtt.Connect, chain: Chain) -> Admission:
        """Check a CONNECT packet that names this hub.

        Raises:
            RefusedError: unknown or disabled device, or no proof that the registry accepts.
        """
        device = self.devices.get(connect.client_id)
        fields = (connect.username or "").split("/", 2)
        if fields[:2] != [self.name, connect.client_id] or "api-version=" not in fields[-1]:
            raise RefusedError(
                mqtt.BAD_CREDENTIALS, "user name is not {hub}/{device}/?api-version=…"
            )
        if device is None or not device.enabled:
            raise RefusedError(mqtt.NOT_AUTHORISED, "unknown or disabled device")
        if chain:
            self._check_certificate(device, chain)
            return Admission(device)
        resource = f"{self.name}/devices/{device.id}"
        token = (connect.password or b"").decode("utf-8", "replace")
        expiry = token_expiry(token, resource, device.keys, self._clock())
        if expiry is None:
            raise RefusedError(mqtt.NOT_AUTHORISED, "shared access signature does not hold")
        return Admission(device, expiry)

    def _check_certificate(self, device: Device, chain: Chain) -> None:
        now = self._clock()
        known = chain[0] in device.certificates
        if known or thumbprints(chain[0]).intersection(device.thumbprints):
            if not within_validity(chain[0], now):
                raise RefusedError(mqtt.NOT_AUTHORISED, "certificate is not valid at this time")
            return
        if not device.by_authority or anchor(chain, self.authorities, now) is None:
            raise RefusedError(mqtt.NOT_AUTHORISED, "certificate is expired or not the device's")
        if common_name(chain[0]) != device.id:
            raise RefusedError(mqtt.NOT_AUTHORISED, "common name is not the device's")

    def may_subscribe(self, device: Device, topic: str) -> bool:
        allowed = (TWIN_ANSWERS, TWIN_PATCHES, METHODS)
        return topic in allowed or topic == f"devices/{device.id}/messages/devicebound/#"

    def receive(self, device: Device, packet: mqtt.Publish) -> Outcome:
        """What a device's PUBLISH means.

        Raises:
            mqtt.ProtocolError: IoT Hub closes the connection on such a packet.
        """
        path, _, query = packet.topic.partition("?")
        if path.startswith(f"devices/{device.id}/messages/events/"):
            return self._telemetry(device, packet)
        request = pairs(query).get("$rid", "")
        if path == "$iothub/twin/GET/":
            return _twin_answer(200, request, twin(device))
        if path == "$iothub/twin/PATCH/properties/reported/":
            return _reported(device, request, packet.payload)
        if path.startswith("$iothub/methods/res/"):
            try:
                status = int(path.removeprefix("$iothub/methods/res/").strip("/"))
                return MethodResult(request, status, json_text.parse(packet.payload or b"null"))
            except ValueError:
                raise mqtt.ProtocolError("no status, or an answer that is no JSON") from None
        raise mqtt.ProtocolError("no such topic")

    def _telemetry(self, device: Device, packet: mqtt.Publish) -> Telemetry:
        bag = pairs(packet.topic.split("/", 4)[4].lstrip("?"))
        size = len(packet.payload) + sum(len(key) + len(value) for key, value in bag.items())
        if size > MAX_MESSAGE:
            raise mqtt.ProtocolError(f"a message of {size} octets")
        system = {_SYSTEM_PROPERTIES[key]: bag.pop(key) for key in _SYSTEM_PROPERTIES if key in bag}
        return Telemetry(self.name, device.id, packet.payload, bag, system, self._clock())


def twin(device: Device) -> dict[str, Any]:
    return {"desired": device.desired.as_seen(), "reported": device.reported.as_seen()}


def desired_patch(device: Device, patch: dict[str, Any]) -> Answer:
    """Apply a service's patch; gives what a subscribed device is told.

    Raises:
        TwinError: the patch breaks a limit; nothing has changed.
    """
    device.desired.patch(patch)
    version = device.desired.version
    body = json.dumps({**patch, "$version": version}).encode()
    return Answer(f"{TWIN_PATCHES[:-1]}?$version={version}", body)


def method_request(name: str, request: str, payload: Any) -> Answer:
    topic = f"{METHODS[:-1]}{quote(name, safe='')}/?$rid={request}"
    return Answer(topic, json.dumps(payload).encode())


def pairs(query: str) -> dict[str, str]:
    """`key=value&key=value`, percent-encoded; a plus sign is a plus sign."""
    fields = (part.partition("=") for part in query.split("&") if part)
    return {unquote(key): unquote(value) for key, _, value in fields}


def _reported(device: Device, request: str, payload: bytes) -> Answer:
    try:
        device.reported.patch(json_text.parse(payload))
    except (ValueError, TwinError) as error:
        return _twin_answer(400, request, {"message": str(error)})
    version = device.reported.version
    return Answer(f"$iothub/twin/res/204/?$rid={quote(request)}&$version={version}")


def _twin_answer(status: int, request: str, body: dict[str, Any]) -> Answer:
    topic = f"{TWIN_ANSWERS[:-1]}{status}/?$rid={quote(request)}"
    return Answer(topic, json.dumps(body).encode())


def error(topic: str, status: int, message: str) -> Answer | None:
    """An error's answer to a twin request, None for a packet that gets no answer."""
    path, _, query = topic.partition("?")
    if not path.startswith("$iothub/twin/"):
        return None
    return _twin_answer(status, pairs(query).get("$rid", ""), {"message": message})
