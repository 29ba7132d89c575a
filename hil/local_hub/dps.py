"""What the Device Provisioning Service means by a registrant's packets; no transport.

PUT register → 202 assigning, GET operationstatus → 202 … 200 assigned, on the topics of
"Communicate with your DPS using the MQTT protocol" (Microsoft, 2024). As in the service, anybody
who names himself properly may connect; a wrong proof is answered with 401 when he registers.
A device assigned by certificate is entered in its hub by the thumbprint of that certificate, so a
device with a renewed certificate has to register again before the hub lets it in.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hil.local_hub import json_text, mqtt
from hil.local_hub.credentials import Chain, thumbprints
from hil.local_hub.enrolment import Enrolment, Registrant
from hil.local_hub.iot_hub import Answer, Device, IotHub, RefusedError, pairs
from hil.local_hub.twin import Properties

_ANSWERS = "$dps/registrations/res/"
_MAX_OPERATIONS = 10_000


@dataclass(slots=True)
class Registration:
    """The last assignment of a registration id."""

    id: str
    hub: str
    device: str
    enrolment: str
    payload: Any
    """What the device sent along."""
    created_at: float
    updated_at: float
    substatus: str = "initialAssignment"
    times: int = 1


@dataclass(slots=True)
class _Operation:
    registrant: str
    polls: int
    assign: Callable[[], Registration]


class _StatusError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Provisioning:
    """DPS for the hubs that are linked to it."""

    def __init__(
        self,
        id_scope: str,
        hubs: Mapping[str, IotHub],
        clock: Callable[[], float] = time.time,
        *,
        polls: int = 1,
        retry_after_s: int = 1,
    ) -> None:
        self.id_scope = id_scope
        self.enrolments: dict[str, Enrolment] = {}
        self.registrations: dict[str, Registration] = {}
        self._hubs, self._clock = hubs, clock
        self._polls, self._retry_after_s = polls, retry_after_s
        self._operations: dict[str, _Operation] = {}

    @staticmethod
    def is_meant(connect: mqtt.Connect) -> bool:
        return (connect.username or "").split("/")[1:2] == ["registrations"]

    def admit(self, connect: mqtt.Connect, chain: Chain) -> Registrant:
        """Check a CONNECT packet.

        Raises:
            RefusedError: wrong scope or form, or neither a certificate nor a token.
        """
        scope, _, rest = (connect.username or "").partition("/registrations/")
        name, _, query = rest.partition("/")
        if name != connect.client_id or "api-version=" not in query:
            raise RefusedError(mqtt.NOT_AUTHORISED, "not {scope}/registrations/{id}/api-version=…")
        if scope != self.id_scope:
            raise RefusedError(mqtt.NOT_AUTHORISED, "no such scope")
        token = (connect.password or b"").decode("utf-8", "replace")
        if not chain and not token:
            raise RefusedError(mqtt.NOT_AUTHORISED, "neither certificate nor token")
        return Registrant(name, chain, token)

    def receive(self, registrant: Registrant, packet: mqtt.Publish) -> Answer:
        """The answer to one request.

        Raises:
            mqtt.ProtocolError: no request of DPS; the connection is closed.
        """
        path, _, query = packet.topic.partition("?")
        fields = pairs(query)
        try:
            if path == "$dps/registrations/PUT/iotdps-register/":
                status, body = self._register(registrant, packet.payload)
            elif path == "$dps/registrations/GET/iotdps-get-operationstatus/":
                status, body = self._status(registrant, fields.get("operationId", ""))
            else:
                raise mqtt.ProtocolError("no such topic")
        except _StatusError as answered:
            return self.error(packet.topic, answered.status, str(answered))
        return _answer(status, packet.topic, body, self._retry_after_s if status == 202 else None)

    @staticmethod
    def error(topic: str, status: int, message: str, *, retry_after_s: int | None = None) -> Answer:
        """An error's answer to the request that came on `topic`."""
        body = {
            "errorCode": status * 1000 + 2,
            "trackingId": secrets.token_hex(16),
            "message": message,
            "timestampUtc": _utc(time.time()),
        }
        return _answer(status, topic, body, retry_after_s)

    def _register(self, registrant: Registrant, payload: bytes) -> tuple[int, dict[str, Any]]:
        try:
            request = json_text.parse(payload)
        except ValueError:
            raise _StatusError(400, "body is no JSON") from None
        if not isinstance(request, dict) or request.get("registrationId") != registrant.id:
            raise _StatusError(400, "registrationId is not the registrant's")
        enrolment = self._enrolment(registrant)
        if len(self._operations) >= _MAX_OPERATIONS:
            self._operations.pop(next(iter(self._operations)))
        operation = f"5.{secrets.token_hex(8)}.{secrets.token_hex(16)}"
        self._operations[operation] = _Operation(
            registrant.id,
            self._polls,
            lambda: self._assign(enrolment, registrant, request.get("payload")),
        )
        return 202, {"operationId": operation, "status": "assigning"}

    def _status(self, registrant: Registrant, name: str) -> tuple[int, dict[str, Any]]:
        operation = self._operations.get(name)
        if operation is None or operation.registrant != registrant.id:
            raise _StatusError(404, "no such operation")
        if operation.polls > 0:
            operation.polls -= 1
            return 202, {"operationId": name, "status": "assigning"}
        registration = operation.assign()
        state = {
            "registrationId": registration.id,
            "assignedHub": registration.hub,
            "deviceId": registration.device,
            "status": "assigned",
            "substatus": registration.substatus,
            "createdDateTimeUtc": _utc(registration.created_at),
            "lastUpdatedDateTimeUtc": _utc(registration.updated_at),
            "etag": str(registration.times),
        }
        payload = self.enrolments[registration.enrolment].payload
        if payload is not None:
            state["payload"] = payload
        return 200, {"operationId": name, "status": "assigned", "registrationState": state}

    def _enrolment(self, registrant: Registrant) -> Enrolment:
        """The enrolment that the registrant proves to belong to; his own goes before any group."""
        own = self.enrolments.get(registrant.id)
        if own and not own.group:
            candidates = [own]
        else:
            candidates = [one for one in self.enrolments.values() if one.group]
        if not candidates:
            raise _StatusError(404, "no enrolment")
        for enrolment in candidates:
            if enrolment.accepts(registrant, self.id_scope, self._clock()):
                if not enrolment.enabled:
                    raise _StatusError(401, "enrolment is disabled")
                return enrolment
        raise _StatusError(401, "no enrolment accepts this proof")

    def _assign(self, enrolment: Enrolment, registrant: Registrant, payload: Any) -> Registration:
        now = self._clock()
        before = self.registrations.get(registrant.id)
        if before and enrolment.reprovision == "never":
            return before
        hubs = sorted(set(enrolment.hubs or self._hubs).intersection(self._hubs))
        if not hubs:
            raise _StatusError(500, "no hub to assign to")
        digest = hashlib.sha256(registrant.id.encode()).digest()
        hub = self._hubs[hubs[int.from_bytes(digest[:8], "big") % len(hubs)]]
        device = enrolment.device_id or registrant.id
        self._enter(hub, device, enrolment, registrant, before)
        registration = Registration(
            registrant.id, hub.name, device, enrolment.name, payload, created_at=now, updated_at=now
        )
        if before:
            registration.created_at, registration.times = before.created_at, before.times + 1
            migrated = enrolment.reprovision == "keep_twin"
            registration.substatus = "deviceDataMigrated" if migrated else "deviceDataReset"
        self.registrations[registrant.id] = registration
        return registration

    def _enter(
        self,
        hub: IotHub,
        name: str,
        enrolment: Enrolment,
        registrant: Registrant,
        before: Registration | None,
    ) -> None:
        """Put the device into its hub's registry, and take it out of the one before."""
        device = hub.devices.get(name)
        if before and before.hub != hub.name and before.hub in self._hubs:
            moved = self._hubs[before.hub].devices.pop(before.device, None)
            device = device or moved
        if device is None or enrolment.reprovision == "reset_twin":
            device = Device(name, desired=Properties(dict(enrolment.desired)))
        if registrant.chain:
            device.thumbprints = tuple(sorted(thumbprints(registrant.chain[0])))
        else:
            device.keys = enrolment.device_keys(registrant.id)
        hub.devices[name] = device


def _answer(status: int, topic: str, body: dict[str, Any], retry_after_s: int | None) -> Answer:
    request = pairs(topic.partition("?")[2]).get("$rid", "")
    query = f"?$rid={quote(request)}"
    if retry_after_s is not None:
        query += f"&retry-after={retry_after_s}"
    return Answer(f"{_ANSWERS}{status}/{query}", json.dumps(body).encode())


def _utc(at_s: float) -> str:
    moment = datetime.datetime.fromtimestamp(at_s, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
