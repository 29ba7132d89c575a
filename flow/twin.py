"""Settings through the device twin: of the local hub, or of Azure IoT Hub over its REST API."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from firmware.errors import UplinkError
from flow.environment import word

SECTIONS = {
    "detection": ("score",),
    "tracking": ("max_lost_s",),
    "interactions": ("minimum_dwell_s", "minimum_face_px"),
    "health": ("every_s",),
}
"""What the sensor lets the twin change (its settings file has the same sections)."""

_API = "2021-04-12"
_SCOPE = "https://iothubs.azure.net/.default"


def patch(device: str, desired: dict[str, Any]) -> None:
    """Merge into a device's desired properties.

    Raises:
        UplinkError: the hub is not there or refuses.
    """
    local = word("FLOW_LOCAL_HUB", "none")
    if local != "none":
        _local(Path(local), {"do": "patch", "device": device, "patch": desired})
    else:
        _azure("PATCH", device, {"properties": {"desired": desired}})


def read(device: str) -> dict[str, Any]:
    """A device's {"desired": …, "reported": …}.

    Raises:
        UplinkError: as `patch`.
    """
    local = word("FLOW_LOCAL_HUB", "none")
    if local != "none":
        twin: dict[str, Any] = _local(Path(local), {"do": "twin", "device": device})
        return twin
    properties: dict[str, Any] = _azure("GET", device, None)["properties"]
    return properties


def _local(state: Path, request: dict[str, Any]) -> Any:
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(10)
            channel.connect(str(state / "control.sock"))
            channel.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(channel.makefile("rb").readline() or b"{}")
    except (OSError, ValueError) as error:
        raise _refused(type(error).__name__) from error
    if "done" not in answer:
        raise _refused(str(answer.get("failed", {}).get("problem", "no answer")))
    return answer["done"]


def _azure(method: str, device: str, body: dict[str, Any] | None) -> Any:
    from azure.core.exceptions import AzureError  # noqa: PLC0415 (slow, and seldom needed)
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    address = f"https://{word('FLOW_IOT_HUB')}/twins/{quote(device, safe='')}?api-version={_API}"
    try:
        token = DefaultAzureCredential().get_token(_SCOPE).token
        request = urllib.request.Request(
            address,
            json.dumps(body).encode() if body else None,
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310
            return json.load(answer)
    except (AzureError, urllib.error.URLError, OSError, ValueError) as error:
        raise _refused(type(error).__name__) from error


def _refused(why: str) -> UplinkError:
    return UplinkError(
        f"the hub did not take it ({why})",
        remedy="look whether the hub runs and knows the sensor, then send it again",
    )
