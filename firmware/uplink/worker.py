"""The uplink: envelopes in from the supervisor, signed and packed out to the hub."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from firmware import messages, sealing, settings
from firmware.errors import ConfigError, SensorError, UplinkError
from firmware.event_log import log
from firmware.uplink.backoff import Backoff
from firmware.uplink.courier import Courier
from firmware.uplink.hub import Cloud, Endpoint, Hub, Listener
from firmware.uplink.identity import Identity
from firmware.uplink.outgoing import Answer, Outgoing
from firmware.uplink.registration import Registration, stagger_s
from firmware.uplink.watch import Watch

TICK_S = 0.5
HEALTH_S = 5.0
REGISTRATION_LIMIT_S = 600.0
_MAX_INCOMING = 48 * 1024
"""Larger payloads do not fit a packet of the channel; twin and methods of use are far smaller."""


class Uplink:
    """One run of the uplink process.

    Args:
        channel: the supervisor's end is on the other side.
        start: the first message.
        cloud: the vendor's driver.

    Raises:
        ProvisioningError: the identity is missing, broken or expired.
        ConfigError: a file that the settings name cannot be read.
        SealError: the recipient's key cannot be used.
    """

    def __init__(self, channel: socket.socket, start: messages.StartUplink, cloud: Cloud) -> None:
        self._channel = channel
        self._device = start.device
        self._hub_settings = current = settings.check(start.settings).hub
        self._directory = Path(settings.check(start.settings).identity.directory)
        self._recipient = sealing.Recipient.from_bytes(start.recipient_key)
        self._identity = Identity.load(self._directory, start.device)
        self._trust = _text(current.trust)
        self._cloud = cloud
        self._host = ""
        self._watch = Watch()
        self._registration = Registration(
            current.host, current.id_scope, self._directory, self._register, self._stagger
        )
        self._outgoing = Outgoing()
        self._courier = Courier(
            self,
            self._outgoing,
            self._watch,
            patience_s=current.acknowledge_s,
            backoff=Backoff(current.retry_s, current.retry_most_s),
        )

    def run(self) -> None:
        """Serve until `Stop`, or until the supervisor is gone.

        Raises:
            UplinkError: the hub or the SDK left a call unanswered: this process is of no more
                use, and threads that hang in the SDK can only end with it.
        """
        self._courier.start()
        next_health = 0.0
        while self._courier.is_alive():
            if time.monotonic() >= next_health:
                next_health = time.monotonic() + HEALTH_S
                self._tell(self._health())
            if select.select([self._channel], [], [], TICK_S)[0]:
                message = messages.receive(self._channel)
                if message is None:
                    return
                self._take(message)
            self._check_watch()
        self._tell(self._health())
        if self._courier.fault:
            raise UplinkError(
                f"the uplink broke down ({self._courier.fault})",
                remedy="none: it is started again; report this",
            )

    # ---- from the supervisor -------------------------------------------------------------------

    def _take(self, message: messages.AnyMessage) -> None:
        match message:
            case messages.Deliver(number, envelope):
                self._outgoing.put_record(number, sealing.sign(envelope, self._identity.key))
            case messages.Health(body):
                number = time.time_ns()
                envelope = sealing.seal_health(
                    body, number=number, device=self._device, recipient=self._recipient
                )
                signed = sealing.sign(envelope, self._identity.key)
                self._outgoing.put_health(number, signed)
            case messages.Report(patch):
                self._outgoing.put_patch(patch)
            case messages.MethodResult(request, status, payload):
                self._outgoing.put_answer(Answer(request, status, payload))
            case messages.Stop():
                self._courier.stop()
            case _:
                pass

    def _check_watch(self) -> None:
        overdue_s = self._watch.overdue_s
        if overdue_s:
            log("hub_stalled", silent_s=round(overdue_s))
            raise UplinkError(
                f"the hub left a call unanswered for {overdue_s:.0f} s",
                remedy="none: the uplink is started again",
            )

    # ---- from the courier's and the SDK's threads ----------------------------------------------

    def connect(self, listener: Listener) -> Hub:
        self._host = self._registration.hub()
        hub = self._cloud.hub(self._endpoint(self._host), self._identity, listener)
        try:
            with self._watch.over(self._hub_settings.acknowledge_s):
                hub.connect()
        except SensorError as error:
            self._registration.failed(error)
            with self._watch.over(self._hub_settings.acknowledge_s):
                hub.close()
            raise
        self._registration.connected()
        return hub

    def connected(self, twin: dict[str, Any]) -> None:
        mark = twin["reported"].get("numbers", 0)
        reported = mark if type(mark) is int and mark >= 0 else 0
        self._tell(messages.UplinkReady(self._host, reported))
        self._tell(self._health())
        version = twin["desired"].get("$version", 0)
        wanted = {key: value for key, value in twin["desired"].items() if key[:1] != "$"}
        if wanted:
            self.desired(version if type(version) is int else 0, wanted)

    def disconnected(self, error: SensorError) -> None:
        self._tell(messages.HubLost(error.problem))
        self._tell(self._health())

    def delivered(self, numbers: tuple[int, ...]) -> None:
        self._tell(messages.Delivered(numbers))

    def desired(self, version: int, patch: dict[str, Any]) -> None:
        self._tell(messages.Desired(version, patch))

    def called(self, request: str, name: str, payload: dict[str, Any]) -> None:
        if name == "reprovision":
            self._registration.forget()
            self._outgoing.put_answer(Answer(request, 202, {}))
        else:
            self._tell(messages.MethodCall(request, name, payload))

    # ---- parts ---------------------------------------------------------------------------------

    def _endpoint(self, host: str) -> Endpoint:
        hub = self._hub_settings
        return Endpoint(host, hub.gateway, self._trust, hub.transport == "websockets")

    def _register(self) -> str:
        hub = self._hub_settings
        with self._watch.over(REGISTRATION_LIMIT_S):
            return self._cloud.register(
                self._endpoint(hub.provisioning_host),
                self._identity,
                hub.id_scope,
                {"site": hub.site, "profile": hub.profile},
            )

    def _stagger(self) -> None:
        self._courier.pause(stagger_s(self._hub_settings.first_contact_s))

    def _health(self) -> messages.UplinkHealth:
        traffic, certificate = self._courier.traffic, self._identity.certificate
        return messages.UplinkHealth(
            connected=self._courier.online,
            sent_messages=traffic.messages,
            sent_bytes=traffic.bytes,
            reconnects=max(traffic.connections - 1, 0),
            certificate_days=certificate.days_left() if certificate else 0,
        )

    def _tell(self, message: messages.FromUplink) -> None:
        with suppress(OSError):  # the supervisor is gone: `run` reads that from the channel
            messages.send(self._channel, message)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"[hub] trust: {path} cannot be read ({type(error).__name__})",
            remedy="name a readable PEM file with root certificates, or leave it empty",
        ) from error
