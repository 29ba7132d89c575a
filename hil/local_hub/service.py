"""The service side for tests, demos and operators: a typed client of the control channel."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509

from hil.local_hub.capture import Event, event
from hil.local_hub.errors import ServiceError
from hil.local_hub.faults import Action, Point
from hil.local_hub.state import pems
from hil.local_hub.tls import CertificateKind


class Service:
    """One connection to a running hub's control channel; not for several threads at once.

    Raises (every method):
        ServiceError: the hub is not there (503) or refuses the request (its status).
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.trust = state / "trust.pem"
        """What a device must trust to believe the hub's certificate."""
        self.capture = state / "capture.jsonl"
        self._socket = _connected(state)
        self._file = self._socket.makefile("rwb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    # ---- registry and twins ----------------------------------------------------------------------

    def devices(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self._ask("devices")
        return result

    def register(
        self,
        device: str,
        *,
        by_authority: bool = False,
        certificates: Sequence[x509.Certificate] = (),
        thumbprints: Sequence[str] = (),
        keys: Sequence[str] = (),
        hub: str | None = None,
    ) -> None:
        """Enter a device with the proofs that it may give (keys are base64)."""
        self._ask(
            "register",
            id=device,
            by_authority=by_authority,
            certificates=pems(certificates),
            thumbprints=list(thumbprints),
            keys=list(keys),
            hub=hub,
        )

    def remove(self, device: str) -> None:
        self._ask("remove", device=device)

    def enable(self, device: str, *, enabled: bool = True) -> None:
        """A disabled device is thrown out and refused."""
        self._ask("enable", device=device, enabled=enabled)

    def twin(self, device: str) -> dict[str, Any]:
        """{"desired": {…, "$version"}, "reported": {…, "$version"}}."""
        result: dict[str, Any] = self._ask("twin", device=device)
        return result

    def patch(self, device: str, patch: dict[str, Any]) -> int:
        """Merge into the desired properties (null deletes); gives the new version."""
        version: int = self._ask("patch", device=device, patch=patch)
        return version

    def call(
        self, device: str, method: str, payload: Any = None, *, timeout_s: float = 30.0
    ) -> tuple[int, Any]:
        """Invoke a direct method; gives the device's status and payload.

        Raises:
            ServiceError: 404 the device is not online, 504 it gave no answer in time.
        """
        answer = self._ask(
            "call", device=device, method=method, payload=payload, timeout_s=timeout_s
        )
        return answer["status"], answer["payload"]

    # ---- provisioning ----------------------------------------------------------------------------

    def enrol(
        self,
        name: str,
        *,
        group: bool = False,
        certificates: Sequence[x509.Certificate] = (),
        keys: Sequence[str] = (),
        **more: Any,
    ) -> None:
        """Write an enrolment; `more` are other fields of `hil.local_hub.dps.Enrolment`."""
        self._ask(
            "enrol",
            name=name,
            group=group,
            certificates=pems(certificates),
            keys=list(keys),
            **more,
        )

    def enrol_from(self, path: Path) -> int:
        """Write the enrolments in a JSON file: a list of objects with the fields of `Enrolment`,
        certificates as PEM text; gives their number."""
        try:
            enrolments = json.loads(path.read_text())
            for enrolment in enrolments:
                self._ask("enrol", **enrolment)
        except (OSError, ValueError, TypeError) as error:
            raise ServiceError(
                400,
                f"enrolments in {path} cannot be read: {error}",
                remedy="see Service.enrol_from",
            ) from error
        return len(enrolments)

    def unenrol(self, name: str) -> None:
        self._ask("unenrol", name=name)

    def enrolments(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self._ask("enrolments")
        return result

    def registrations(self) -> list[dict[str, Any]]:
        """What DPS has assigned, with the payload that each device sent along."""
        result: list[dict[str, Any]] = self._ask("registrations")
        return result

    # ---- messages --------------------------------------------------------------------------------

    def watch(
        self, *, after: int = 0, timeout_s: float | None = None
    ) -> Generator[Event, None, None]:
        """Messages as they arrive, after the first `after` in the capture; ends with the hub.

        Raises:
            TimeoutError: nothing came for `timeout_s`.
        """
        with contextlib.closing(_connected(self.state)) as channel:
            channel.sendall(json.dumps({"do": "watch", "after": after}).encode() + b"\n")
            channel.settimeout(timeout_s)
            with channel.makefile("rb") as lines:
                for line in lines:
                    yield event(json.loads(line))

    def stats(self) -> dict[str, int]:
        """Totals since the hub started: messages, octets, connects, refusals, faults; connected."""
        result: dict[str, int] = self._ask("stats")
        return result

    # ---- trouble ---------------------------------------------------------------------------------

    def fault(self, action: Action, point: Point = "telemetry", **more: Any) -> None:
        """Arm a fault; `more` are other fields of `hil.local_hub.faults.Fault`."""
        self._ask("fault", action=action, point=point, **more)

    def faults(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self._ask("faults")
        return result

    def clear_faults(self) -> None:
        self._ask("clear_faults")

    def kick(self, device: str = "*") -> int:
        """Reset the connections of devices that match the shell pattern; gives their number."""
        count: int = self._ask("kick", device=device)
        return count

    def restart(self, seconds: float = 1.0, *, forget_sessions: bool = False) -> None:
        """The hub is away for so long, and may come back without its sessions."""
        self._ask("restart", seconds=seconds, forget_sessions=forget_sessions)

    def certificate(self, kind: CertificateKind) -> None:
        """Show this kind of server certificate from the next handshake on."""
        self._ask("certificate", kind=kind)

    def stop(self) -> None:
        self._ask("stop")

    def _ask(self, request: str, /, **arguments: Any) -> Any:
        try:
            self._file.write(json.dumps({"do": request, **arguments}).encode() + b"\n")
            self._file.flush()
            line = self._file.readline()
        except OSError as error:
            raise _not_there(self.state) from error
        if not line:
            raise _not_there(self.state)
        answer = json.loads(line)
        if "failed" in answer:
            failed = answer["failed"]
            raise ServiceError(failed["status"], failed["problem"], remedy=failed["remedy"])
        return answer["done"]


def _connected(state: Path) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(str(state / "control.sock"))
    except OSError as error:
        channel.close()
        raise _not_there(state) from error
    return channel


def _not_there(state: Path) -> ServiceError:
    return ServiceError(
        503,
        f"no hub answers at {state / 'control.sock'}",
        remedy="start it: python -m hil.local_hub --state … --host 127.0.0.1",
    )
