"""The REST interfaces of IoT Hub and DPS, as far as an operator's tools need them.

HTTPS with one request for each connection: enrolments and groups (api-version 2021-10-01),
devices, twins and direct methods (2021-04-12), with a shared access signature.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http
import json
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hil.local_hub.control import Requests
from hil.local_hub.credentials import token_expiry
from hil.local_hub.errors import ServiceError
from provisioning.service import write_file

POLICY = "service"
_MAX_BODY = 256 * 1024
_WITHIN_S = 60.0

Json = dict[str, Any]


class RestFace:
    """Answers HTTP requests out of `Requests`.

    Args:
        requests: the service side.
        address, port: where to listen.
    """

    def __init__(self, requests: Requests, address: str, port: int) -> None:
        self._requests = requests
        self._address, self._port = address, port
        self._host = f"{address}:{port}"
        self._key = base64.b64encode(secrets.token_bytes(32)).decode()

    async def listen(self, tls: ssl.SSLContext, state: Path) -> asyncio.Server:
        """Listen, and write `service.toml` for `flow-provision --service` into the hub's directory.

        Raises:
            OSError: address or port cannot be had.
        """
        text = f"HostName={self._host};SharedAccessKeyName={POLICY};SharedAccessKey={self._key}"
        write_file(state / "service.toml", hub=text, dps=text, trust=state / "trust.pem")
        return await asyncio.start_server(self._serve, self._address, self._port, ssl=tls)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            status, answer = await asyncio.wait_for(self._answer(reader), _WITHIN_S)
            body = b"" if answer is None else json.dumps(answer).encode()
            phrase = http.HTTPStatus(status).phrase
            writer.write(
                f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, Json | None]:
        try:
            verb, path, headers = await _head(reader)
            length = int(headers.get("content-length", "0"))
            if not 0 <= length <= _MAX_BODY:
                return 413, None
            content = await reader.readexactly(length)
            body = json.loads(content) if content else {}
        except (ValueError, asyncio.LimitOverrunError):
            return 400, None
        token = headers.get("authorization", "")
        if token_expiry(token, self._host, (self._key,), time.time()) is None:
            return 401, {"Message": "the shared access signature is not valid"}
        try:
            answer = self._route(verb, path, body)
            return 200, await answer if isinstance(answer, Awaitable) else answer
        except ServiceError as error:
            return error.status, {"Message": error.problem}
        except (KeyError, TypeError, ValueError) as error:
            return 400, {"Message": f"{type(error).__name__}: {error}"}

    def _route(self, verb: str, path: str, body: Json) -> Json | Awaitable[Json] | None:
        kind, name, *rest = map(unquote, path.strip("/").split("/"))
        routes: dict[tuple[str, str], Callable[[str, Json], Json | Awaitable[Json] | None]] = {
            ("PUT", "enrollments"): self._enrol,
            ("PUT", "enrollmentGroups"): self._enrol,
            ("GET", "devices"): self._device,
            ("PUT", "devices"): self._enable,
            ("GET", "twins"): self._twin,
            ("PATCH", "twins"): self._patch,
            ("POST", "twins"): self._call,
        }
        route = routes.get((verb, kind))
        if route is None or rest != (["methods"] if verb == "POST" else []):
            raise ServiceError(404, f"no {verb} {path}", remedy="see hil/local_hub/rest.py")
        return route(name, body)

    # ---- enrolments ------------------------------------------------------------------------------

    def _enrol(self, name: str, body: Json) -> None:
        attestation = body["attestation"]
        certificates: list[str] = []
        keys: list[str] = []
        if attestation["type"] == "x509":
            (shown,) = attestation["x509"].values()  # clientCertificates or signingCertificates
            certificates = [one["certificate"] for one in shown.values()]
        else:
            keys = list(attestation["symmetricKey"].values())
        self._requests.enrol(
            name=name,
            group="enrollmentGroupId" in body,
            certificates=certificates,
            keys=keys,
            hubs=body.get("iotHubs", ()),
            enabled=body.get("provisioningStatus") != "disabled",
            desired=body.get("initialTwin", {}).get("properties", {}).get("desired", {}),
        )

    # ---- devices ---------------------------------------------------------------------------------

    def _entry(self, name: str) -> Json:
        for entry in self._requests.devices():
            if entry["device"] == name:
                return entry
        raise ServiceError(404, f"no device {name!r}", remedy="register or enrol it first")

    def _device(self, name: str, _: Json) -> Json:
        status = "enabled" if self._entry(name)["enabled"] else "disabled"
        return {"deviceId": name, "status": status}

    def _enable(self, name: str, body: Json) -> Json:
        self._requests.enable(name, body["status"] == "enabled")
        return self._device(name, body)

    def _twin(self, name: str, _: Json) -> Json:
        entry = self._entry(name)
        return {
            "deviceId": name,
            "status": "enabled" if entry["enabled"] else "disabled",
            "connectionState": "Connected" if entry["connected"] else "Disconnected",
            "properties": self._requests.twin(name),
        }

    def _patch(self, name: str, body: Json) -> Json:
        self._requests.patch(name, body["properties"]["desired"])
        return self._twin(name, body)

    async def _call(self, name: str, body: Json) -> Json:
        return await self._requests.call(
            name,
            body["methodName"],
            body.get("payload"),
            timeout_s=float(body.get("responseTimeoutInSeconds", 30)),
        )


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
    """Verb, path without query, and headers with names in lower case."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    verb, target, _ = first.split(" ")
    headers = dict(line.partition(":")[::2] for line in lines)
    return (
        verb,
        urlsplit(target).path,
        {name.strip().lower(): value.strip() for name, value in headers.items()},
    )
