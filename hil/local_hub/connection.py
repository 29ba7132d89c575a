"""One client's conversation: from CONNECT until the connection ends."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from hil.local_hub import iot_hub, mqtt
from hil.local_hub.credentials import Chain
from hil.local_hub.dps import Provisioning
from hil.local_hub.enrolment import Registrant
from hil.local_hub.faults import Fault, Point
from hil.local_hub.iot_hub import (
    Answer,
    Device,
    IotHub,
    MethodResult,
    RefusedError,
    Telemetry,
    method_request,
)
from hil.local_hub.link import Link
from hil.local_hub.tls import client_chain

if TYPE_CHECKING:
    from hil.local_hub.server import Server

CONNECT_WITHIN_S = 10.0


class Connection:
    """Either a device at a hub (`hub`, `device`) or a registrant at DPS (`registrant`)."""

    def __init__(self, server: Server, link: Link) -> None:
        self._server, self._cloud, self._link = server, server.cloud, link
        self._loop = asyncio.get_running_loop()
        self._packet_id = 0
        self._calls: dict[str, asyncio.Future[MethodResult]] = {}
        self.hub: IotHub | None = None
        self.device: Device | None = None
        self.registrant: Registrant | None = None
        self.is_clean = False
        """Whether its session ends with the connection."""
        self.deadline = self._loop.time() + CONNECT_WITHIN_S
        """When the server's sweep ends this connection (loop time)."""
        self.expires_at_s = math.inf
        """When the token ends (Unix seconds)."""
        self._patience_s: float | None = None

    async def run(self) -> None:
        """Serve until either side ends it. Never raises but on cancellation."""
        try:
            await self._link.run(self._receive)
        except mqtt.ProtocolError as error:
            self._server.refused(self.name, error)
        finally:
            self._server.leave(self)
            for call in self._calls.values():
                call.cancel()

    @property
    def name(self) -> str:
        identity = self.device or self.registrant
        return identity.id if identity else "?"

    def abort(self) -> None:
        """Reset the connection."""
        self._link.abort()

    def tell(self, answer: Answer) -> None:
        """Publish to the device when it has subscribed to such topics."""
        subscriptions = self.device.subscriptions if self.device else set()
        if self.registrant or any(answer.topic.startswith(topic[:-1]) for topic in subscriptions):
            self._packet_id = self._packet_id % 0xFFFF + 1
            self._link.send(mqtt.Publish(answer.topic, answer.payload, 1, self._packet_id))

    async def call(self, name: str, request: str, payload: Any, timeout_s: float) -> MethodResult:
        """Invoke a method; `request` tells its answer from others.

        Raises:
            asyncio.TimeoutError: no answer in time.
            asyncio.CancelledError: the connection ended meanwhile.
        """
        answer: asyncio.Future[MethodResult] = self._loop.create_future()
        self._calls[request] = answer
        try:
            self.tell(method_request(name, request, payload))
            return await asyncio.wait_for(answer, timeout_s)
        finally:
            del self._calls[request]

    def _receive(self, packet: mqtt.Packet) -> None:
        if self.device is None and self.registrant is None:
            if not isinstance(packet, mqtt.Connect):
                raise mqtt.ProtocolError("the first packet must be CONNECT")
            self._connect(packet)
            return
        if self._patience_s is not None:
            self.deadline = self._loop.time() + self._patience_s
        if isinstance(packet, mqtt.Publish):
            self._publish(packet)
        elif isinstance(packet, mqtt.Subscribe):
            self._link.send(
                mqtt.Suback(packet.packet_id, tuple(map(self._subscribe, packet.topics)))
            )
        elif isinstance(packet, mqtt.Unsubscribe):
            if self.device:
                self.device.subscriptions.difference_update(packet.topics)
                self._cloud.changed()
            self._link.send(mqtt.Unsuback(packet.packet_id))
        elif isinstance(packet, mqtt.Pingreq):
            self._link.send(mqtt.Pingresp())
        elif isinstance(packet, mqtt.Disconnect):
            self._link.is_ended = True
        elif not isinstance(packet, mqtt.Puback):
            raise mqtt.ProtocolError(f"{type(packet).__name__} is not for a server")

    def _connect(self, packet: mqtt.Connect) -> None:
        is_dps = Provisioning.is_meant(packet)
        point: Point = "dps_connect" if is_dps else "connect"
        fault = self._cloud.faults.strike(point, packet.client_id)
        if fault and self._break(fault, packet.client_id):
            return
        try:
            if fault:
                raise RefusedError(fault.code, "by order")
            chain = client_chain(self._link.tls)
            resumed = self._admit(packet, chain, is_dps=is_dps)
        except RefusedError as refusal:
            self._server.refused(repr(packet.client_id), refusal)
            self._link.send(mqtt.Connack(refusal.code))
            self._link.is_ended = True
            return
        self._patience_s = packet.keep_alive_s * 1.5 or None
        self.deadline = self._loop.time() + (self._patience_s or math.inf)
        self._link.send(mqtt.Connack(mqtt.ACCEPTED, session_present=resumed))

    def _admit(self, packet: mqtt.Connect, chain: Chain, *, is_dps: bool) -> bool:
        """Who is it? True when a session is resumed."""
        if is_dps:
            self.registrant = self._cloud.provisioning.admit(packet, chain)
            return False
        hub = self._cloud.hubs.get((packet.username or "").partition("/")[0])
        if hub is None:
            raise RefusedError(mqtt.BAD_CREDENTIALS, "no hub of that name")
        admission = hub.admit(packet, chain)
        self.hub, self.device = hub, admission.device
        self.expires_at_s = admission.expires_at_s
        self.is_clean = packet.clean_session
        if self.is_clean:
            self.device.subscriptions.clear()
        self._server.take_place(self)
        return bool(self.device.subscriptions)

    def _subscribe(self, wanted: tuple[str, int]) -> int:
        topic, qos = wanted
        if self.device and self.hub:
            if not self.hub.may_subscribe(self.device, topic):
                return mqtt.SUBSCRIPTION_REFUSED
            self.device.subscriptions.add(topic)
            self._cloud.changed()
        elif topic != "$dps/registrations/res/#":
            return mqtt.SUBSCRIPTION_REFUSED
        return min(qos, 1)

    def _publish(self, packet: mqtt.Publish) -> None:
        point = self._point(packet.topic)
        fault = self._cloud.faults.strike(point, self.name)
        if fault and self._break(fault, self.name, packet.topic):
            return
        if fault and fault.action in ("refuse", "throttle") and point != "telemetry":
            self._acknowledge(packet)
            self._turn_down(packet.topic, fault)
            return
        answer = self._effect(packet)
        if fault is None:
            self._acknowledge(packet)
        elif fault.action in ("delay", "throttle"):
            self._loop.call_later(fault.seconds, self._acknowledge, packet)
        elif fault.action == "die_after_store":
            self.abort()
        elif fault.action == "restart":
            self._server.restart(fault.seconds, forget_sessions=fault.forget_sessions)
        if answer:
            self.tell(answer)

    def _break(self, fault: Fault, device: str, topic: str = "") -> bool:
        """Do what keeps a packet from having any effect; True when that was so."""
        if fault.action == "abort":
            self.abort()
        elif fault.action == "silence":
            self._link.is_silent = True
            self.deadline = math.inf
        elif fault.action == "garbage":
            self._link.send_garbage(self._cloud.faults.garbage(fault, device, topic))
        return fault.action in ("abort", "silence", "drop", "garbage")

    def _turn_down(self, topic: str, fault: Fault) -> None:
        status = 429 if fault.action == "throttle" else fault.code
        wait_s = math.ceil(fault.seconds)
        answer = (
            Provisioning.error(topic, status, "by order", retry_after_s=wait_s)
            if self.registrant
            else iot_hub.error(topic, status, "by order")
        )
        if answer is not None:
            self.tell(answer)

    def _effect(self, packet: mqtt.Publish) -> Answer | None:
        if self.registrant:
            return self._cloud.provisioning.receive(self.registrant, packet)
        assert self.hub and self.device
        outcome = self.hub.receive(self.device, packet)
        if isinstance(outcome, Telemetry):
            self._cloud.store(outcome)
            return None
        self._cloud.changed()
        if isinstance(outcome, MethodResult):
            call = self._calls.get(outcome.request)
            if call and not call.done():
                call.set_result(outcome)
            return None
        return outcome

    def _acknowledge(self, packet: mqtt.Publish) -> None:
        if packet.packet_id is not None:
            self._link.send(mqtt.Puback(packet.packet_id))

    def _point(self, topic: str) -> Point:
        if self.registrant:
            return "dps"
        if topic.startswith("$iothub/twin/"):
            return "twin"
        return "method" if topic.startswith("$iothub/methods/") else "telemetry"
