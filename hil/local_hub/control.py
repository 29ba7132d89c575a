"""The service side over a Unix socket: one JSON object for each line, one answer for each.

A request is `{"do": name, …arguments}`; the answer `{"done": result}` or `{"failed": {"status",
"problem", "remedy"}}`. After `watch` the connection carries captured messages until it is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from hil.local_hub import state
from hil.local_hub.errors import ServiceError
from hil.local_hub.faults import Fault
from hil.local_hub.iot_hub import desired_patch, twin
from hil.local_hub.server import Server
from hil.local_hub.tls import CertificateKind
from hil.local_hub.twin import TwinError

MAX_LINE = 4 * 1024 * 1024


class Requests:
    """What can be asked: each public method is a request of that name."""

    def __init__(self, server: Server, stop: Callable[[], None]) -> None:
        self._server, self._cloud = server, server.cloud
        self._stop = stop

    # ---- registry and twins ----------------------------------------------------------------------

    def devices(self) -> list[dict[str, Any]]:
        return [
            {
                "hub": hub.name,
                "device": device.id,
                "enabled": device.enabled,
                "connected": (hub.name, device.id) in self._server.devices,
                "subscriptions": sorted(device.subscriptions),
                "desired_version": device.desired.version,
                "reported_version": device.reported.version,
            }
            for hub in self._cloud.hubs.values()
            for device in hub.devices.values()
        ]

    def register(self, hub: str | None = None, **device: Any) -> None:
        """Enter a device; one that is there keeps its twin and session."""
        name = hub or next(iter(self._cloud.hubs))
        if name not in self._cloud.hubs:
            raise ServiceError(404, f"no hub {name!r}", remedy="name one of the started hubs")
        entry = state.device(device)
        before = self._cloud.hubs[name].devices.get(entry.id)
        if before:
            entry.desired, entry.reported = before.desired, before.reported
            entry.subscriptions = before.subscriptions
        self._cloud.hubs[name].devices[entry.id] = entry
        self._trust_changed()

    def remove(self, device: str) -> None:
        hub, entry = self._cloud.find(device)
        del hub.devices[entry.id]
        self._trust_changed()

    def enable(self, device: str, enabled: bool) -> None:
        self._cloud.find(device)[1].enabled = enabled
        self._cloud.changed()

    def twin(self, device: str) -> dict[str, Any]:
        return twin(self._cloud.find(device)[1])

    def patch(self, device: str, patch: dict[str, Any]) -> int:
        """Patch desired properties; gives their new version."""
        hub, entry = self._cloud.find(device)
        try:
            answer = desired_patch(entry, patch)
        except TwinError as error:
            raise ServiceError(400, str(error), remedy="keep to the limits of a twin") from None
        self._cloud.changed()
        if connection := self._server.devices.get((hub.name, entry.id)):
            connection.tell(answer)
        return entry.desired.version

    async def call(
        self, device: str, method: str, payload: Any = None, timeout_s: float = 30.0
    ) -> dict[str, Any]:
        result = await self._server.call(device, method, payload, timeout_s)
        return {"status": result.status, "payload": result.payload}

    # ---- provisioning ----------------------------------------------------------------------------

    def enrol(self, **enrolment: Any) -> None:
        entry = state.enrolment(enrolment)
        self._cloud.provisioning.enrolments[entry.name] = entry
        self._trust_changed()

    def unenrol(self, name: str) -> None:
        if self._cloud.provisioning.enrolments.pop(name, None) is None:
            raise ServiceError(404, f"no enrolment {name!r}", remedy="list them with enrolments")
        self._trust_changed()

    def enrolments(self) -> list[dict[str, Any]]:
        return list(map(state.enrolment_tree, self._cloud.provisioning.enrolments.values()))

    def registrations(self) -> list[dict[str, Any]]:
        return [asdict(one) for one in self._cloud.provisioning.registrations.values()]

    # ---- trouble ---------------------------------------------------------------------------------

    def fault(self, **fault: Any) -> None:
        self._cloud.faults.arm(Fault(**fault))

    def faults(self) -> list[dict[str, Any]]:
        return self._cloud.faults.armed()

    def clear_faults(self) -> None:
        self._cloud.faults.clear()

    def kick(self, device: str = "*") -> int:
        return self._server.kick(device)

    def restart(self, seconds: float = 1.0, forget_sessions: bool = False) -> None:
        self._server.restart(seconds, forget_sessions=forget_sessions)

    def certificate(self, kind: CertificateKind) -> None:
        if kind not in get_args(CertificateKind):
            raise ServiceError(400, f"certificate {kind!r}", remedy=str(get_args(CertificateKind)))
        self._server.handshakes.use(kind)

    def stats(self) -> dict[str, Any]:
        return {
            "messages": self._cloud.capture.messages,
            "octets": self._cloud.capture.octets,
            "connected": len(self._server.devices),
            "connects": self._server.connects,
            "refusals": self._server.refusals,
            "faults": self._cloud.faults.struck,
            "pid": os.getpid(),
        }

    def stop(self) -> None:
        self._stop()

    def _trust_changed(self) -> None:
        self._server.handshakes.renew()
        self._cloud.changed()


class Control:
    """The socket: requests in, answers out."""

    def __init__(self, server: Server, stop: Callable[[], None]) -> None:
        self._cloud = server.cloud
        self._requests = Requests(server, stop)
        self._listener: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._listener = await asyncio.start_unix_server(self._serve, str(path), limit=MAX_LINE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):  # ValueError: an endless line
            while line := await reader.readline():
                request = json.loads(line)
                if request.get("do") == "watch":
                    await self._watch(int(request.get("after", 0)), reader, writer)
                    break
                writer.write(json.dumps(await self._answer(request)).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        name = str(request.pop("do", ""))
        try:
            ask = None if name.startswith("_") else getattr(self._requests, name, None)
            if ask is None:
                raise ServiceError(
                    400, f"no request {name!r}", remedy="see hil/local_hub/control.py"
                )
            result = ask(**request)
            return {"done": await result if isinstance(result, Awaitable) else result}
        except ServiceError as error:
            failed = {"status": error.status, "problem": error.problem, "remedy": error.remedy}
        except (TypeError, ValueError, KeyError) as error:
            failed = {"status": 400, "problem": f"{name}: {error}", "remedy": "correct it"}
        return {"failed": failed}

    async def _watch(
        self, after: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send the capture file's lines from number `after` on, then each new one as it comes."""
        gone = asyncio.ensure_future(reader.read())
        fresh = asyncio.Event()
        self._cloud.watchers.add(fresh)
        number = 0
        with self._cloud.capture.path.open("rb") as file:
            while not gone.done():
                fresh.clear()
                if line := file.readline():
                    number += 1
                    if number > after:
                        writer.write(line)
                        await writer.drain()
                else:
                    waiting = asyncio.ensure_future(fresh.wait())
                    await asyncio.wait([gone, waiting], return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
        self._cloud.watchers.discard(fresh)
