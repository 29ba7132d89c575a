"""The uplink: envelopes in from the supervisor, signed and packed out to the hub."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from firmware import deadline, messages, sealing, settings
from firmware.errors import ProvisioningError, SensorError, UplinkError
from firmware.event_log import log
from firmware.uplink import twin
from firmware.uplink.access import Access
from firmware.uplink.backoff import Backoff
from firmware.uplink.courier import Courier
from firmware.uplink.hub import Cloud, Hub, Listener
from firmware.uplink.outgoing import Answer, Outgoing
from firmware.uplink.statement import RecipientKey
from firmware.uplink.watch import Watch

TICK_S = 0.5
HEALTH_S = 5.0
EXPIRY_S = 86_400.0
"""How often a certificate that ends soon is reported."""


class Uplink:
    """One run of the uplink process.

    The main thread listens to the supervisor and watches the time; the courier's thread talks to
    the hub; the SDK's threads tell of the twin and of method calls.

    Args:
        channel: the supervisor is at its other end.
        start: the first message.
        cloud: the vendor's driver.

    Raises:
        ProvisioningError: the identity is missing or broken.
        ConfigError: a file that the settings name cannot be read.
        SealError: the recipient's key cannot be used.
    """

    def __init__(self, channel: socket.socket, start: messages.StartUplink, cloud: Cloud) -> None:
        self._channel = channel
        self._device = start.device
        current = settings.check(start.settings)
        self._given_key = start.recipient_key
        self._recipient = RecipientKey(
            Path(current.identity.directory),
            settings.operator_key(current.sealing),
            start.recipient_key,
        )
        self._watch = Watch()
        self._outgoing = Outgoing()
        self._last_fault: messages.UplinkFault = "none"
        self._dead_thread = ""
        self._courier = Courier(
            self,
            self._outgoing,
            self._watch,
            patience_s=current.hub.acknowledge_s,
            backoff=Backoff(current.hub.retry_s, current.hub.retry_most_s),
        )
        self._access = Access(current, start.device, cloud, self._watch, self._courier.pause)

    def run(self) -> None:
        """Serve until `Stop`, or until the supervisor is gone.

        Raises:
            UplinkError: the hub or the SDK left a call unanswered: this process is of no more
                use, and threads that hang in the SDK can only end with it.
        """
        self._courier.start()
        next_health = next_expiry = time.monotonic()
        while self._courier.is_alive():
            now = time.monotonic()
            if now >= next_health:
                next_health = now + HEALTH_S
                self._tell(self._health())
                deadline.extend(deadline.UPLINK_S)
            if now >= next_expiry:
                next_expiry = now + EXPIRY_S
                self._watch_expiry()
            if select.select([self._channel], [], [], TICK_S)[0]:
                try:
                    message = messages.receive(self._channel)
                except ConnectionError:  # it went with words of ours unread
                    message = None
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

    def thread_died(self, death: threading.ExceptHookArgs) -> None:
        """`threading.excepthook`: the SDK's network thread can die of an exception without a word
        to its callers. What the exception says goes nowhere."""
        log("thread_died", error=death.exc_type.__name__)
        self._dead_thread = death.exc_type.__name__

    # ---- from the supervisor -------------------------------------------------------------------

    def _take(self, message: messages.AnyMessage) -> None:
        match message:
            case messages.Deliver(number, envelope):
                self._outgoing.put_record(number, self._signed(envelope))
            case messages.Health(body):
                number = time.time_ns()
                envelope = sealing.seal_health(
                    body, number=number, device=self._device, recipient=self._recipient.recipient
                )
                self._outgoing.put_health(number, self._signed(envelope))
            case messages.Report(patch):
                self._outgoing.put_patch(patch)
            case messages.MethodResult(request, status, payload):
                self._outgoing.put_answer(Answer(request, status, payload))
            case messages.Stop():
                self._courier.stop()
            case _:
                pass

    def _signed(self, envelope: bytes) -> bytes:
        return sealing.sign(envelope, self._access.identity.key)

    # ---- time ----------------------------------------------------------------------------------

    def _check_watch(self) -> None:
        overdue_s = self._watch.overdue_s
        if overdue_s:
            log("hub_stalled", silent_s=round(overdue_s))
            problem = f"the hub left a call unanswered for {overdue_s:.0f} s"
        elif self._dead_thread:
            problem = f"a thread of the SDK died ({self._dead_thread})"
        else:
            return
        self._last_fault = "stalled"
        self._tell(self._health())
        raise UplinkError(problem, remedy="none: the uplink is started again")

    def _watch_expiry(self) -> None:
        certificate = self._access.identity.certificate
        if certificate and self._access.rotation.due:
            log("certificate_expires", days=certificate.days_left())
            with suppress(ProvisioningError):  # it is tried again a day later
                self._request_certificate()

    def _request_certificate(self) -> None:
        request = self._access.rotation.request()
        self._outgoing.put_patch({"identity": {"request": request, "rejected": None}})

    # ---- from the courier's and the SDK's threads ----------------------------------------------

    def connect(self, listener: Listener) -> Hub:
        hub = self._access.open(listener)
        if self._access.registered_after:
            log("registered", attempt=self._access.registered_after)
        return hub

    def connected(self, properties: dict[str, Any]) -> None:
        if self._access.proven():
            self._outgoing.put_patch({"identity": {"request": None, "rejected": None}})
        content = self._recipient.content
        self._tell(
            messages.UplinkReady(
                self._access.host,
                twin.high_water(properties["reported"]),
                content if content != self._given_key else b"",
            )
        )
        self._tell(self._health())
        certificate = self._access.identity.certificate
        if certificate:
            ends = f"{certificate.leaf.not_valid_after_utc:%Y-%m-%d}"
            self._outgoing.put_patch({"identity": {"expires": ends}})
        self.desired(properties["desired"])

    def disconnected(self, error: SensorError) -> None:
        self._last_fault = self._fault(error)
        self._tell(messages.HubLost(error.problem))
        self._tell(self._health())

    def delivered(self, numbers: tuple[int, ...]) -> None:
        self._tell(messages.Delivered(numbers))

    def desired(self, properties: dict[str, Any]) -> None:
        wanted = twin.parse(properties)
        if wanted.certificate:
            self._report("identity", lambda: self._renew_identity(wanted.certificate))
        if wanted.statement:
            self._report("recipient", lambda: self._renew_recipient(wanted.statement))
        if wanted.settings:
            said = messages.Desired(wanted.version, wanted.settings)
            if messages.fits(said):
                self._tell(said)
            else:
                refused = {"version": wanted.version, "rejected": "twin: no setting is like that"}
                self._outgoing.put_patch({"settings": refused})

    def called(self, request: str, name: str, payload: dict[str, Any]) -> None:
        match name:
            case "reprovision":
                known = self._access.reprovision()
                self._outgoing.put_answer(Answer(request, 202 if known else 409, {}))
                if known:
                    self._courier.renew()
            case "rotate":
                try:
                    self._request_certificate()
                    answer = Answer(request, 202, {})
                except ProvisioningError as error:
                    answer = Answer(request, 409, {"error": error.problem})
                self._outgoing.put_answer(answer)
            case _ if messages.fits(call := messages.MethodCall(request, name, payload)):
                self._tell(call)
            case _:
                self._outgoing.put_answer(Answer(request, 413, {"error": "no such payload"}))

    # ---- parts ---------------------------------------------------------------------------------

    def _renew_identity(self, certificate: str) -> None:
        if self._access.rotation.accept(certificate):
            self._courier.renew()

    def _renew_recipient(self, statement: str) -> None:
        if self._recipient.accept(statement):
            log("recipient_changed")
            self._tell(messages.Recipient(self._recipient.content))

    def _report(self, section: str, renewal: Callable[[], None]) -> None:
        """Do it and answer in the reported properties: why not, or null."""
        try:
            renewal()
            reason = None
        except SensorError as error:
            reason = error.problem
        self._outgoing.put_patch({section: {"rejected": reason}})

    def _health(self) -> messages.UplinkHealth:
        traffic, certificate = self._courier.traffic, self._access.identity.certificate
        return messages.UplinkHealth(
            connected=self._courier.online,
            sent_messages=traffic.messages,
            sent_bytes=traffic.bytes,
            connections=traffic.connections,
            certificate_days=certificate.days_left() if certificate else 0,
            last_fault=self._last_fault,
        )

    def _fault(self, error: SensorError) -> messages.UplinkFault:
        certificate = self._access.identity.certificate
        validity = certificate.validity() if certificate else "valid"
        if validity != "valid":
            return validity
        return "refused" if isinstance(error, ProvisioningError) else "unreachable"

    def _tell(self, message: messages.FromUplink) -> None:
        with suppress(OSError):  # the supervisor is gone: `run` reads that from the channel
            messages.send(self._channel, message)
