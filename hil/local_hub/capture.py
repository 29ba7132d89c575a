"""Every message that the hub took, as JSON lines: what the analytics side would read.

One line: {"hub", "device", "message_id", "body" (base64), "properties", "system", "at"}. A line
is written and flushed before the message is acknowledged, so that an acknowledged message is
never lost with the hub. `flow-sensor open` reads such a file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.local_hub.iot_hub import Telemetry


@dataclass(frozen=True, slots=True)
class Event:
    """One captured message."""

    hub: str
    device: str
    message_id: str
    body: bytes
    properties: dict[str, str]
    system: dict[str, str]
    at: float
    """When the hub took it, Unix seconds."""


class Capture:
    """The file that the hub writes. A second hub on the same file appends to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        _cut_off_half_line(path)
        self._file = path.open("ab")
        self.messages = 0
        self.octets = 0

    def write(self, message: Telemetry) -> None:
        line = {
            "hub": message.hub,
            "device": message.device,
            "message_id": message.system.get("message-id", ""),
            "body": base64.b64encode(message.body).decode(),
            "properties": message.properties,
            "system": message.system,
            "at": round(message.at, 3),
        }
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        self.messages += 1
        self.octets += len(message.body)

    def close(self) -> None:
        self._file.close()


def events(path: Path) -> Iterator[Event]:
    """All messages in a capture file; a half-written last line is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield event(json.loads(line))


def _cut_off_half_line(path: Path) -> None:
    """A hub that was killed while it wrote had not acknowledged that message yet."""
    with path.open("rb+") as file:
        end = 0
        for line in file:
            end += len(line) if line.endswith(b"\n") else 0
        file.truncate(end)


def event(line: dict[str, Any]) -> Event:
    return Event(**{**line, "body": base64.b64decode(line["body"])})
