"""The listeners and everything behind them: hubs, provisioning, faults, capture, sessions."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import secrets
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hil.local_hub import certificates, state
from hil.local_hub.capture import Capture
from hil.local_hub.certificates import Credential
from hil.local_hub.connection import Connection, PlainWire, Wire
from hil.local_hub.dps import Provisioning
from hil.local_hub.errors import ServiceError
from hil.local_hub.faults import Faults
from hil.local_hub.iot_hub import METHODS, Answer, Device, IotHub, MethodResult, Telemetry
from hil.local_hub.tls import server_context
from hil.local_hub.websocket import WebSocketWire

SWEEP_S = 0.2
CertificateKind = Literal["good", "renewed", "stranger", "expired", "other_name"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a hub is started. A hub whose name is an IP address is reached there directly."""

    host: str
    state: Path
    port: int = 8883
    websocket_port: int | None = None
    hubs: tuple[str, ...] = ()
    """Names of the hubs; empty: one that is named by `host`."""
    authorities: tuple[Path, ...] = ()
    """PEM files of authorities whose devices every hub accepts by their common name."""
    id_scope: str = "0ne00000000"
    seed: int = 0
    retry_after_s: int = 1


class Server:
    """One listening address for any number of hubs and their provisioning service."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        self.options, self._clock = options, clock
        trusted = [
            one
            for path in options.authorities
            for one in x509.load_pem_x509_certificates(path.read_bytes())
        ]
        names = options.hubs or (options.host,)
        self.hubs = {name: IotHub(name, trusted, clock) for name in names}
        self.provisioning = Provisioning(
            options.id_scope, self.hubs, clock, retry_after_s=options.retry_after_s
        )
        self.faults = Faults(options.seed)
        self.capture = Capture(options.state / "capture.jsonl")
        self.captured = asyncio.Condition()
        self.connections: dict[tuple[str, str], Connection] = {}
        self.refusals = 0
        self.connects = 0
        self._state = options.state / "hub.json"
        state.load(self._state, self.hubs, self.provisioning)
        self._dirty = False
        self._all: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = itertools.count(1)
        self._root = _root(options.state)
        self._certificate: CertificateKind = "good"
        self._context: ssl.SSLContext | None = None

    async def start(self) -> None:
        """Listen, and begin the sweep.

        Raises:
            OSError: an address or a port cannot be had.
        """
        self.trust_changed()
        await self._listen()
        self._spawn(self._sweep())

    async def stop(self) -> None:
        """Close everything in order; sessions and twins are on disk afterwards."""
        for task in list(self._tasks):
            task.cancel()
        self._close()
        state.save(self._state, self.hubs, self.provisioning)
        self.capture.close()

    # ---- the service side, as the control channel asks for it ------------------------------------

    def find(self, device: str) -> tuple[IotHub, Device]:
        """A device in whichever hub has it.

        Raises:
            ServiceError: 404.
        """
        for hub in self.hubs.values():
            if device in hub.devices:
                return hub, hub.devices[device]
        raise ServiceError(404, f"no device {device!r}", remedy="register or enrol it first")

    def notify(self, hub: IotHub, device: Device, answer: Answer) -> bool:
        """Tell a device something, if it is there to hear it."""
        connection = self.connections.get((hub.name, device.id))
        if connection:
            connection.tell(answer)
        return connection is not None

    async def call(self, device: str, name: str, payload: Any, timeout_s: float) -> MethodResult:
        """Invoke a direct method.

        Raises:
            ServiceError: 404 the device is not connected or listens to no methods; 504 no answer.
        """
        hub, entry = self.find(device)
        connection = self.connections.get((hub.name, entry.id))
        if connection is None or METHODS not in entry.subscriptions:
            raise ServiceError(404, f"{device!r} is not online", remedy="try again when it is")
        call = asyncio.ensure_future(connection.call(name, payload, timeout_s))
        await asyncio.wait([call])
        if call.cancelled():
            raise ServiceError(404, f"{device!r} went away", remedy="try again when it is back")
        try:
            return call.result()
        except asyncio.TimeoutError:
            raise ServiceError(
                504, f"{device!r} gave no answer in {timeout_s:g} s", remedy="look at its log"
            ) from None

    def kick(self, pattern: Callable[[str], bool]) -> int:
        """Reset the connections of the devices that the pattern names."""
        found = [one for one in self._all if pattern(one.name)]
        for connection in found:
            connection.abort()
        return len(found)

    def restart(self, seconds: float, *, forget_sessions: bool = False) -> None:
        """Be away for so long; every connection is reset."""
        self._close()
        if forget_sessions:
            for hub in self.hubs.values():
                for device in hub.devices.values():
                    device.subscriptions.clear()
        self.changed()
        self._spawn(self._reopen(seconds))

    def use_certificate(self, kind: CertificateKind) -> None:
        """Show another certificate from the next handshake on."""
        self._certificate = kind
        self.trust_changed()

    def trust_changed(self) -> None:
        """Make the TLS context anew after certificates were registered, enrolled or removed."""
        trusted = {one for hub in self.hubs.values() for one in hub.authorities}
        for hub in self.hubs.values():
            trusted.update(one for device in hub.devices.values() for one in device.certificates)
        for enrolment in self.provisioning.enrolments.values():
            trusted.update(enrolment.certificates)
        shown = self._server_credential().write(self.options.state, "server")
        self._context = server_context(*shown, trusted)
        self.changed()

    # ---- for the connections ---------------------------------------------------------------------

    def take_place(self, connection: Connection) -> None:
        """A device has one connection: a second one ends the first."""
        assert connection.hub and connection.device
        key = connection.hub.name, connection.device.id
        if (before := self.connections.get(key)) is not None:
            before.abort()
        self.connections[key] = connection
        self.connects += 1

    def forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection.hub and connection.device:
            key = connection.hub.name, connection.device.id
            if self.connections.get(key) is connection:
                del self.connections[key]

    def store(self, message: Telemetry) -> None:
        self.capture.write(message)
        self._spawn(self._wake())

    def changed(self) -> None:
        self._dirty = True

    def next_request(self) -> str:
        return f"{next(self._requests):x}-{secrets.token_hex(4)}"

    def log(self, text: str) -> None:
        self.refusals += 1
        print(text, file=sys.stderr, flush=True)

    # ---- inside ----------------------------------------------------------------------------------

    async def _wake(self) -> None:
        async with self.captured:
            self.captured.notify_all()

    async def _listen(self) -> None:
        assert self._context
        wires: list[tuple[int, Callable[[], Wire]]] = [(self.options.port, PlainWire)]
        if self.options.websocket_port is not None:
            wires.append((self.options.websocket_port, WebSocketWire))
        for port, wire in wires:
            context = self._context
            # Every handshake takes the context of its moment: certificates can change meanwhile.
            context.sni_callback = self._choose_context
            self._listeners.append(
                await asyncio.start_server(
                    functools.partial(self._serve, wire),
                    self.options.host,
                    port,
                    ssl=context,
                    ssl_handshake_timeout=10,
                    backlog=512,
                    reuse_address=True,
                )
            )

    def _choose_context(self, connection: ssl.SSLObject, _name: str, _context: object) -> None:
        assert self._context
        connection.context = self._context

    async def _serve(
        self,
        wire: Callable[[], Wire],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        connection = Connection(self, reader, writer, wire())
        self._all.add(connection)
        await connection.run()

    def _close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in list(self._all):
            connection.abort()

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self._listeners:
            await self._listen()

    async def _sweep(self) -> None:
        """End what has been silent for too long or has an expired token; save what changed."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            for connection in list(self._all):
                expired = connection.expires_at_s <= self._clock()
                if expired or connection.deadline <= loop.time():
                    connection.abort()
            if self._dirty:
                self._dirty = False
                state.save(self._state, self.hubs, self.provisioning)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _server_credential(self) -> Credential:
        hosts: Sequence[str] = [self.options.host, *self.hubs, "localhost"]
        kind, root = self._certificate, self._root
        if kind == "stranger":
            root = certificates.authority("Another root")
        elif kind == "other_name":
            hosts = ["other.invalid"]
        return certificates.server(hosts, root, days=-1 if kind == "expired" else 30)


def _root(directory: Path) -> Credential:
    """The root that devices must trust (`trust.pem`), kept over restarts."""
    trust, key = directory / "trust.pem", directory / "trust.key"
    with contextlib.suppress(FileNotFoundError):
        secret = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(secret, ec.EllipticCurvePrivateKey)
        return Credential(secret, x509.load_pem_x509_certificate(trust.read_bytes()))
    root = certificates.authority("Local hub root")
    root.write(directory, "trust")
    return root
