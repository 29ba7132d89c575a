"""A new certificate for a device in the field, through its twin.

The device makes the new key, reports a request, finds the certificate in its desired properties,
and changes over only after a connection with it has worked. This is the operator's half.
"""

from __future__ import annotations

import time
from typing import Any

from firmware.errors import ProvisioningError, UplinkError
from provisioning.authority import Authority
from provisioning.issued import Issued
from provisioning.service import Service

PATIENCE_S = 120.0
_POLL_S = 0.5


def renew(
    device: str,
    service: Service,
    authority: Authority,
    issued: Issued,
    *,
    days: int,
    patience_s: float = PATIENCE_S,
) -> None:
    """Renew one device's certificate and wait until the device has changed over.

    Raises:
        ProvisioningError: the device is not online, has no certificate, or refuses the new one.
        UplinkError: it did not answer in time; the old certificate stays in use.
    """
    until = time.monotonic() + patience_s
    before = _identity(service, device)
    if before.get("rejected") or not before.get("request"):
        status, answer = service.call(device, "rotate", {})
        if status != 202:
            raise ProvisioningError(
                f"{device} cannot renew its certificate: {_reason(answer)}",
                remedy="see docs/provisioning.md",
            )
    while (shown := _identity(service, device)).get("rejected") or not shown.get("request"):
        _wait(device, until)
    request = str(shown["request"])
    certificate = authority.device(request.encode("utf-8"), days=days, device=device)
    issued.keep(device, certificate)
    service.patch(device, {"identity": {"certificate": certificate.decode("ascii")}})
    try:
        _await_change(service, device, until)
    finally:
        service.patch(device, {"identity": None})  # the twin is no archive


def _await_change(service: Service, device: str, until: float) -> None:
    while True:
        shown = _identity(service, device)
        if shown.get("rejected"):
            raise ProvisioningError(
                f"{device} keeps its old certificate: {shown['rejected']}",
                remedy="check that the batch's authority is enrolled, then try again",
            )
        if not shown.get("request"):
            return
        _wait(device, until)


def _identity(service: Service, device: str) -> dict[str, Any]:
    reported = service.twin(device).get("properties", {}).get("reported", {})
    found = reported.get("identity", {})
    return found if isinstance(found, dict) else {}


def _reason(answer: object) -> str:
    return str(answer.get("error", answer)) if isinstance(answer, dict) else str(answer)


def _wait(device: str, until: float) -> None:
    if time.monotonic() > until:
        raise UplinkError(
            f"{device} did not finish in time",
            remedy="look at its reported properties; it finishes by itself when it is online",
        )
    time.sleep(_POLL_S)
