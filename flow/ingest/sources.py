"""Where messages come from besides Event Hubs: the local hub, and a capture file of it."""

from __future__ import annotations

import base64
import json
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firmware.errors import UplinkError
from flow.ingest.opening import Message


def local_hub(state: Path, after: int) -> Iterator[Message | None]:
    """Messages of the local hub as they arrive, from its `after`-th on, without end.

    Yields None when nothing came for half a second, so that a batch can be closed.

    Raises:
        UplinkError: the hub is not there, or ended.
    """
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(str(state / "control.sock"))
            channel.sendall(json.dumps({"do": "watch", "after": after}).encode() + b"\n")
        except OSError as error:
            raise _not_there(state) from error
        channel.settimeout(0.5)
        rest = b""
        position = after
        while True:
            try:
                part = channel.recv(1 << 20)
            except TimeoutError:
                yield None
                continue
            except OSError as error:
                raise _not_there(state) from error
            if not part:
                raise _not_there(state)
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                position += 1
                yield _message(json.loads(line), position)


def capture(path: Path, after: int, part: int = 0, parts: int = 1) -> Iterator[Message]:
    """Messages of a capture file, those of one share of the devices.

    Args:
        part, parts: share number `part` of `parts`; a device is always in the same one.
    """
    with path.open("rb") as file:
        for position, line in enumerate(file, start=1):
            if position > after and line.endswith(b"\n"):
                tree = json.loads(line)
                if zlib.crc32(tree["device"].encode()) % parts == part:
                    yield _message(tree, position)


def _message(tree: dict[str, Any], position: int) -> Message:
    return Message(base64.b64decode(tree["body"]), tree["device"], int(tree["at"]), position)


def _not_there(state: Path) -> UplinkError:
    return UplinkError(
        f"no local hub answers in {state}",
        remedy="start it with `python -m hil.local_hub --state …`, or look at its log",
    )
