"""The listeners, the connections they bring, and what can be done to them."""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import ipaddress
import secrets
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from hil.local_hub.cloud import Cloud, Options
from hil.local_hub.connection import Connection
from hil.local_hub.errors import ServiceError
from hil.local_hub.iot_hub import METHODS, MethodResult
from hil.local_hub.link import Link
from hil.local_hub.tls import Handshakes
from hil.local_hub.websocket import WebSocketWire
from hil.local_hub.wire import PlainWire, Wire

SWEEP_S = 0.2


class Server:
    """One address (and those of hubs that are named by one) for devices to connect to."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        options.state.mkdir(parents=True, exist_ok=True)
        self.options, self._clock = options, clock
        self.cloud = Cloud(options, clock)
        hosts = (options.host, *self.cloud.hubs, *options.also, "localhost")
        self.handshakes = Handshakes(options.state, hosts, self.cloud.trusted)
        self.devices: dict[tuple[str, str], Connection] = {}
        """(hub, device) → its connection."""
        self.connects = 0
        self.refusals = 0
        """Connections refused, or ended because of what they sent."""
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_there = True
        """False while it is away by order of `restart`."""

    async def start(self) -> None:
        """Listen, and begin the sweep.

        Raises:
            OSError: an address or a port cannot be had.
        """
        await self._listen()
        self._spawn(self._sweep())

    async def stop(self) -> None:
        """Close everything; twins and sessions are on disk afterwards."""
        for task in self._tasks:
            task.cancel()
        self._close()
        self.cloud.close()

    async def call(self, device: str, name: str, payload: Any, timeout_s: float) -> MethodResult:
        """Invoke a direct method.

        Raises:
            ServiceError: 404 the device is not connected or listens to no methods; 504 no answer.
        """
        hub, entry = self.cloud.find(device)
        connection = self.devices.get((hub.name, entry.id))
        if connection is None or METHODS not in entry.subscriptions:
            raise ServiceError(404, f"{device!r} is not online", remedy="try again when it is")
        call = asyncio.ensure_future(
            connection.call(name, secrets.token_hex(8), payload, timeout_s)
        )
        await asyncio.wait([call])
        if call.cancelled():
            raise ServiceError(404, f"{device!r} went away", remedy="try again when it is back")
        try:
            return call.result()
        except asyncio.TimeoutError:
            raise ServiceError(
                504, f"{device!r} gave no answer in {timeout_s:g} s", remedy="look at its log"
            ) from None

    def kick(self, pattern: str) -> int:
        """Reset the connections of devices whose names match the shell pattern."""
        found = [one for one in self._connections if fnmatch.fnmatchcase(one.name, pattern)]
        for connection in found:
            connection.abort()
        return len(found)

    def restart(self, seconds: float, *, forget_sessions: bool = False) -> None:
        """Be away for so long; every connection is reset. Nothing while it is away already."""
        if forget_sessions:
            self.cloud.forget_sessions()
            self.cloud.changed()
        if self.is_there:
            self.is_there = False
            self._close()
            self._spawn(self._reopen(seconds))

    # ---- for the connections ---------------------------------------------------------------------

    def take_place(self, connection: Connection) -> None:
        """A device has one connection: a second one ends the first."""
        assert connection.hub and connection.device
        key = connection.hub.name, connection.device.id
        if (before := self.devices.get(key)) is not None:
            before.abort()
        self.devices[key] = connection
        self.connects += 1

    def leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection.hub and connection.device:
            key = connection.hub.name, connection.device.id
            if self.devices.get(key) is connection:
                del self.devices[key]
                if connection.is_clean:
                    connection.device.subscriptions.clear()

    def refused(self, name: str, reason: object) -> None:
        self.refusals += 1
        print(f"{name}: {reason}", file=sys.stderr, flush=True)

    # ---- inside ----------------------------------------------------------------------------------

    async def _listen(self) -> None:
        wires: list[tuple[int, Callable[[], Wire]]] = [(self.options.port, PlainWire)]
        if self.options.websocket_port is not None:
            wires.append((self.options.websocket_port, WebSocketWire))
        addresses = {self.options.host, *filter(_is_address, self.cloud.hubs)}
        for address, (port, wire) in ((a, w) for a in sorted(addresses) for w in wires):
            self._listeners.append(
                await asyncio.start_server(
                    functools.partial(self._serve, wire),
                    address,
                    port,
                    ssl=self.handshakes.context(),
                    ssl_handshake_timeout=10,
                    backlog=512,
                    reuse_address=True,
                )
            )

    async def _serve(
        self,
        wire: Callable[[], Wire],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        connection = Connection(self, Link(reader, writer, wire()))
        self._connections.add(connection)
        await connection.run()

    def _close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in self._connections:
            connection.abort()

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while not self.is_there:
            try:
                await self._listen()
                self.is_there = True
            except OSError:  # somebody has taken the port meanwhile
                self._close()
                await asyncio.sleep(SWEEP_S)

    async def _sweep(self) -> None:
        """End connections that may not stay any longer; save what changed."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            for connection in list(self._connections):
                late = connection.deadline <= loop.time()
                if late or connection.expires_at_s <= self._clock() or _is_removed(connection):
                    connection.abort()
            self.cloud.save()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_removed(connection: Connection) -> bool:
    """Whether its device has been removed, replaced or disabled since."""
    if connection.hub is None or connection.device is None:
        return False
    entry = connection.hub.devices.get(connection.device.id)
    return entry is not connection.device or not entry.enabled


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
