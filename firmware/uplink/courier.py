"""The one thread that talks to the hub: connect, send, lose, wait, connect again.

One message is on its way at a time. That keeps the records' order, repeats at most one message
after a fault, and makes "nothing was acknowledged" a plain fact about one call. 20,000 records
take 10,000 messages: 8 minutes at a round trip of 50 ms.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Protocol

from firmware.errors import ProvisioningError, SensorError, UplinkError
from firmware.event_log import log
from firmware.uplink.backoff import Backoff
from firmware.uplink.hub import Hub, Listener
from firmware.uplink.outgoing import Answer, Outgoing, Parcel, Patch
from firmware.uplink.watch import Watch

IDLE_S = 1.0


class Sensor(Protocol):
    """The rest of the device, as the courier sees it. Called from several threads."""

    def connect(self, listener: Listener) -> Hub:
        """A connected hub; raises SensorError."""

    def connected(self, twin: dict[str, Any]) -> None:
        """A connection is up; `twin` is all of it."""

    def disconnected(self, error: SensorError) -> None:
        """A connection is lost, or an attempt failed."""

    def delivered(self, numbers: tuple[int, ...]) -> None:
        """The hub has acknowledged these interactions."""

    def desired(self, properties: dict[str, Any]) -> None:
        """The twin's desired properties changed: a patch, with `$version`."""

    def called(self, request: str, name: str, payload: dict[str, Any]) -> None:
        """A direct method was called."""


@dataclass
class Traffic:
    """Totals since the process started."""

    messages: int = 0
    bytes: int = 0
    connections: int = 0


class Courier(threading.Thread):
    """Keeps a connection and empties `outgoing` over it until it is told to stop.

    Args:
        sensor: makes connections, and is told what happens to them.
        outgoing: what to send.
        watch: is told of every call that the hub has to answer.
        patience_s: how long such a call may take.
        backoff: pauses between connections.
    """

    def __init__(
        self,
        sensor: Sensor,
        outgoing: Outgoing,
        watch: Watch,
        *,
        patience_s: float,
        backoff: Backoff,
    ) -> None:
        super().__init__(name="courier", daemon=True)
        self.traffic = Traffic()
        self.online = False
        self.fault = ""
        self._sensor = sensor
        self._outgoing = outgoing
        self._watch = watch
        self._patience_s = patience_s
        self._backoff = backoff
        self._stopping = threading.Event()
        self._renewing = threading.Event()

    def stop(self) -> None:
        """Send what is there as long as the connection lasts, then end the thread."""
        self._stopping.set()
        self._outgoing.hurry()

    def renew(self) -> None:
        """Leave the present connection for a new one, once answers in hand are sent."""
        self._renewing.set()
        self._outgoing.wake()

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the stop."""
        self._stopping.wait(seconds)

    def run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # the watching thread must hear of it, whatever it is
            self.fault = type(error).__name__

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                self._visit()
            except SensorError as error:
                self._sensor.disconnected(error)
                pause_s = self._backoff.next_s()
                log(
                    "hub_refused" if isinstance(error, ProvisioningError) else "hub_lost",
                    error=type(error).__name__,
                    retry_in_ms=round(pause_s * 1000),
                )
                self.pause(pause_s)

    def _visit(self) -> None:
        """One connection, until it is lost (UplinkError), renewed, or all is sent at the stop."""
        self._renewing.clear()
        line = _Line(self._sensor, self._outgoing)
        hub = self._sensor.connect(line)
        try:
            with self._watch.over(self._patience_s):
                twin = hub.twin()
            self.traffic.connections += 1
            self.online = True
            log("hub_connected", attempt=self._backoff.failures + 1)
            self._sensor.connected(twin)
            while not (self._stopping.is_set() and self._outgoing.empty):
                item = self._outgoing.next(IDLE_S)
                if line.lost_event.is_set():
                    raise UplinkError(
                        "the connection with the hub was lost", remedy="none: it is made again"
                    )
                if self._renewing.is_set():
                    item = item or self._outgoing.next(0)
                    if not isinstance(item, Answer | Patch):
                        return
                if item:
                    self._send(hub, item)
        finally:
            self.online = False
            self._outgoing.disconnected()
            with self._watch.over(self._patience_s):
                hub.close()

    def _send(self, hub: Hub, item: Parcel | Patch | Answer) -> None:
        with self._watch.over(self._patience_s):
            match item:
                case Parcel(kind, body, message_id):
                    hub.send(body, message_id, {"kind": kind})
                    self.traffic.messages += 1
                    self.traffic.bytes += len(body)
                    self._backoff.succeeded()
                case Patch(properties):
                    if not hub.report(properties):
                        log("report_refused")
                case Answer(request, status, payload):
                    hub.respond(request, status, payload)
        self._outgoing.sent(item)
        if isinstance(item, Parcel) and item.numbers:
            self._sensor.delivered(item.numbers)


class _Line:
    """The listener of one connection: a late word about an old one must not touch the next."""

    def __init__(self, sensor: Sensor, outgoing: Outgoing) -> None:
        self.lost_event = threading.Event()
        self.desired = sensor.desired
        self.called = sensor.called
        self._outgoing = outgoing

    def lost(self) -> None:
        self.lost_event.set()
        self._outgoing.wake()
