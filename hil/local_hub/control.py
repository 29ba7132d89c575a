"""The service side over a Unix socket: one JSON object for each line, one answer for each.

A request is `{"do": name, …arguments}`; the answer `{"done": result}` or `{"failed": {"status",
"problem", "remedy"}}`. After `watch` the connection carries captured messages until it is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from hil.local_hub import state
from hil.local_hub.errors import ServiceError
from hil.local_hub.faults import Fault
from hil.local_hub.iot_hub import desired_patch, twin
from hil.local_hub.server import CertificateKind, Server
from hil.local_hub.twin import TwinError

MAX_LINE = 4 * 1024 * 1024


class Control:
    """Answers requests about one server. Each public method is a request of that name."""

    def __init__(self, server: Server, stop: Callable[[], None]) -> None:
        self._server = server
        self._stop = stop
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
            ask = None if name.startswith("_") else getattr(self, name, None)
            if ask is None or name == "listen":
                raise ServiceError(
                    400, f"no request {name!r}", remedy="see hil/local_hub/control.py"
                )
            try:
                inspect.signature(ask).bind(**request)
            except TypeError as error:
                raise ServiceError(400, f"{name}: {error}", remedy="correct it") from None
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
        with self._server.capture.path.open("rb") as file:
            number = 0
            while not gone.done():
                line = file.readline()
                if line:
                    number += 1
                    if number > after:
                        writer.write(line)
                        await writer.drain()
                    continue
                async with self._server.captured:
                    waiting = asyncio.ensure_future(self._server.captured.wait())
                    await asyncio.wait([gone, waiting], return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await waiting
        gone.cancel()

    # ---- registry and twins ----------------------------------------------------------------------

    def devices(self) -> list[dict[str, Any]]:
        return [
            {
                "hub": hub.name,
                "device": device.id,
                "enabled": device.enabled,
                "connected": (hub.name, device.id) in self._server.connections,
                "subscriptions": sorted(device.subscriptions),
                "desired_version": device.desired.version,
                "reported_version": device.reported.version,
            }
            for hub in self._server.hubs.values()
            for device in hub.devices.values()
        ]

    def register(self, hub: str | None = None, **device: Any) -> None:
        """Enter a device; one that is there keeps its twin and session."""
        name = hub or next(iter(self._server.hubs))
        if name not in self._server.hubs:
            raise ServiceError(404, f"no hub {name!r}", remedy="name one of the started hubs")
        entry = state.device(device)
        before = self._server.hubs[name].devices.get(entry.id)
        if before:
            entry.desired, entry.reported = before.desired, before.reported
            entry.subscriptions = before.subscriptions
        self._server.hubs[name].devices[entry.id] = entry
        self._server.trust_changed()
        self._server.kick(lambda one: one == entry.id)

    def remove(self, device: str) -> None:
        hub, entry = self._server.find(device)
        del hub.devices[entry.id]
        self._server.trust_changed()
        self._server.kick(lambda one: one == device)

    def enable(self, device: str, enabled: bool) -> None:
        self._server.find(device)[1].enabled = enabled
        self._server.changed()
        if not enabled:
            self._server.kick(lambda one: one == device)

    def twin(self, device: str) -> dict[str, Any]:
        return twin(self._server.find(device)[1])

    def patch(self, device: str, patch: dict[str, Any]) -> int:
        """Patch desired properties; gives their new version."""
        hub, entry = self._server.find(device)
        try:
            answer = desired_patch(entry, patch)
        except TwinError as error:
            raise ServiceError(400, str(error), remedy="keep to the limits of a twin") from None
        self._server.changed()
        self._server.notify(hub, entry, answer)
        return entry.desired.version

    async def call(
        self, device: str, method: str, payload: Any = None, timeout_s: float = 30.0
    ) -> dict[str, Any]:
        result = await self._server.call(device, method, payload, timeout_s)
        return {"status": result.status, "payload": result.payload}

    # ---- provisioning ----------------------------------------------------------------------------

    def enrol(self, **enrolment: Any) -> None:
        entry = state.enrolment(enrolment)
        self._server.provisioning.enrolments[entry.name] = entry
        self._server.trust_changed()

    def unenrol(self, name: str) -> None:
        if self._server.provisioning.enrolments.pop(name, None) is None:
            raise ServiceError(404, f"no enrolment {name!r}", remedy="list them with enrolments")
        self._server.trust_changed()

    def enrolments(self) -> list[dict[str, Any]]:
        return list(map(state.enrolment_tree, self._server.provisioning.enrolments.values()))

    def registrations(self) -> list[dict[str, Any]]:
        return [asdict(one) for one in self._server.provisioning.registrations.values()]

    # ---- trouble ---------------------------------------------------------------------------------

    def fault(self, **fault: Any) -> None:
        self._server.faults.arm(Fault(**fault))

    def faults(self) -> list[dict[str, Any]]:
        return self._server.faults.armed()

    def clear_faults(self) -> None:
        self._server.faults.clear()

    def kick(self, device: str = "*") -> int:
        return self._server.kick(lambda one: fnmatch.fnmatchcase(one, device))

    def restart(self, seconds: float = 1.0, forget_sessions: bool = False) -> None:
        self._server.restart(seconds, forget_sessions=forget_sessions)

    def certificate(self, kind: CertificateKind) -> None:
        if kind not in get_args(CertificateKind):
            raise ServiceError(400, f"certificate {kind!r}", remedy=str(get_args(CertificateKind)))
        self._server.use_certificate(kind)

    def stats(self) -> dict[str, Any]:
        return {
            "messages": self._server.capture.messages,
            "octets": self._server.capture.octets,
            "connected": len(self._server.connections),
            "connects": self._server.connects,
            "refusals": self._server.refusals,
            "faults": self._server.faults.struck,
        }

    def stop(self) -> None:
        self._stop()
