"""The operator's side of Azure: enrolments, device registry, twins and methods over HTTPS.

What is needed of both services is six requests of their published REST interfaces (api-versions
below), made here with the standard library instead of two client libraries
(docs/decisions/0022-rest-instead-of-service-libraries.md).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from firmware.errors import ConfigError, ProvisioningError, UplinkError
from provisioning.enrolment import Enrolment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HUB_VERSION = "2021-04-12"
DPS_VERSION = "2021-10-01"
TIMEOUT_S = 30.0
_TOKEN_S = 3600
_RETRY = frozenset({429, 500, 502, 503, 504})
_ATTEMPTS = 5


@dataclass(frozen=True)
class Connection:
    """One service's address and a shared access policy, as the portal's connection string."""

    host: str
    policy: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Connection:
        """Raises ConfigError unless it is `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`."""
        parts = dict(part.partition("=")[::2] for part in text.strip().split(";"))
        try:
            base64.b64decode(parts["SharedAccessKey"], validate=True)
            return cls(parts["HostName"], parts["SharedAccessKeyName"], parts["SharedAccessKey"])
        except (KeyError, ValueError):
            raise ConfigError(
                "a connection string is not of the form HostName=…;SharedAccessKeyName=…;"
                "SharedAccessKey=…",
                remedy="copy it from the portal: Shared access policies",
            ) from None

    def token(self) -> str:
        """A shared access signature for an hour."""
        resource = quote_plus(self.host)
        expiry = int(time.time()) + _TOKEN_S
        digest = hmac.new(
            base64.b64decode(self.key), f"{resource}\n{expiry}".encode(), hashlib.sha256
        ).digest()
        signature = quote_plus(base64.b64encode(digest))
        return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={self.policy}"


class Service:
    """Both services.

    Args:
        hub: IoT Hub, policy with registry and service permissions; None: only enrolments.
        dps: the provisioning service, policy with enrolment permissions; None: no enrolments.
        trust: PEM file of roots for the servers' certificates; None: the system's.

    Every method raises UplinkError when a service cannot be reached, and ProvisioningError when
    it refuses the request.
    """

    def __init__(
        self, hub: Connection | None, dps: Connection | None, trust: Path | None = None
    ) -> None:
        self._hub = hub
        self._dps = dps
        self._tls = ssl.create_default_context(cafile=trust)

    @classmethod
    def load(cls, path: Path) -> Service:
        """From a TOML file with `hub`, `dps` and, for a test hub, `trust`.

        Raises:
            ConfigError: the file is missing, may be read by others, or is wrong.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigError(f"{path} may be read by others", remedy=f"chmod 600 {path}")
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(
                f"{path} cannot be read ({type(error).__name__})",
                remedy='write hub = "HostName=…" and dps = "HostName=…" into it, one line each',
            ) from error
        if set(tree) - {"hub", "dps", "trust"} or not all(
            isinstance(v, str) for v in tree.values()
        ):
            raise ConfigError(
                f"{path} holds other keys than hub, dps and trust", remedy="remove them"
            )
        hub, dps = (
            Connection.parse(tree[name]) if name in tree else None for name in ("hub", "dps")
        )
        return cls(hub, dps, Path(tree["trust"]) if "trust" in tree else None)

    # ---- enrolments ----------------------------------------------------------------------------

    def enrol(self, enrolment: Enrolment) -> None:
        """Create an enrolment, or replace the one of that name."""
        self._ask(self._dps, "PUT", enrolment.path, DPS_VERSION, enrolment.body(), etag="*")

    # ---- devices -------------------------------------------------------------------------------

    def disable(self, device: str) -> None:
        """End a device's connection and refuse every later one."""
        path = f"/devices/{quote(device)}"
        entry = self._ask(self._hub, "GET", path, HUB_VERSION)
        self._ask(self._hub, "PUT", path, HUB_VERSION, {**entry, "status": "disabled"}, etag="*")

    def twin(self, device: str) -> dict[str, Any]:
        """`{"connectionState": …, "status": …, "properties": {"desired": …, "reported": …}}`."""
        return self._ask(self._hub, "GET", f"/twins/{quote(device)}", HUB_VERSION)

    def patch(self, device: str, desired: dict[str, Any]) -> None:
        """Merge into a device's desired properties."""
        body = {"properties": {"desired": desired}}
        self._ask(self._hub, "PATCH", f"/twins/{quote(device)}", HUB_VERSION, body)

    def call(self, device: str, method: str, payload: dict[str, Any]) -> tuple[int, Any]:
        """Invoke a direct method: → the device's status and answer."""
        body = {"methodName": method, "payload": payload, "responseTimeoutInSeconds": 20}
        path = f"/twins/{quote(device)}/methods"
        answer = self._ask(self._hub, "POST", path, HUB_VERSION, body)
        return int(answer["status"]), answer.get("payload")

    # ---- HTTP ----------------------------------------------------------------------------------

    def _ask(
        self,
        at: Connection | None,
        verb: str,
        path: str,
        version: str,
        body: dict[str, Any] | None = None,
        *,
        etag: str = "",
    ) -> dict[str, Any]:
        """One request, again after a pause when the service is busy."""
        if at is None:
            raise ConfigError(
                "the service file lacks the connection that this needs",
                remedy='add hub = "HostName=…" or dps = "HostName=…" to it',
            )
        headers = {"Authorization": at.token(), "Content-Type": "application/json"}
        if etag:
            headers["If-Match"] = etag
        content = json.dumps(body).encode() if body is not None else None
        for attempt in range(_ATTEMPTS):
            status, retry_after, answer = self._exchange(
                at.host, verb, f"{path}?api-version={version}", headers, content
            )
            if status not in _RETRY:
                break
            time.sleep(min(retry_after or 2**attempt, TIMEOUT_S))
        if not 200 <= status < 300:
            raise ProvisioningError(
                f"{at.host} refuses {verb} {path} with status {status}",
                remedy=_REMEDY.get(status, "see the service's own log"),
            )
        try:
            tree = json.loads(answer) if answer else {}
        except ValueError:
            tree = None
        if not isinstance(tree, dict):
            raise UplinkError(
                f"{at.host} answers with no JSON object", remedy="check the host name"
            )
        return tree

    def _exchange(
        self, host: str, verb: str, path: str, headers: dict[str, str], content: bytes | None
    ) -> tuple[int, float, bytes]:
        connection = http.client.HTTPSConnection(host, timeout=TIMEOUT_S, context=self._tls)
        try:
            connection.request(verb, path, content, headers)
            response = connection.getresponse()
            wait = response.headers.get("Retry-After", "")
            return response.status, float(wait) if wait.isdecimal() else 0.0, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise UplinkError(
                f"{host} cannot be reached ({type(error).__name__})",
                remedy="check the host name in the connection string, and the network",
            ) from error
        finally:
            connection.close()


_REMEDY = {
    401: "check policy and key of the connection string, and this machine's clock",
    403: "give the shared access policy the permissions that this needs",
    404: "check the device's id: the service does not know it",
    409: "it exists already: remove it first",
    412: "somebody changed it at the same moment: try again",
    429: "the service is busy: try again later, with fewer at one time",
}


def write_file(path: Path, *, hub: str, dps: str, trust: Path | None = None) -> None:
    """Write a service file for `Service.load`, readable by its owner only."""
    lines = [f"hub = {json.dumps(hub)}", f"dps = {json.dumps(dps)}"]
    if trust:
        lines.append(f"trust = {json.dumps(str(trust))}")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
