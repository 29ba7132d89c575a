"""What to answer instead of an answer. What is wrong with it decides how long a client waits."""

from __future__ import annotations

import json
import random
from typing import Literal, get_args

from hil.local_hub.mqtt import Publish

Kind = Literal[
    "random",  # 1 … 200 octets, other ones each time
    "unknown",  # a packet of the type that MQTT 3.1.1 reserves
    "partial",  # the head of a packet that announces more than ever comes
    "publish",  # a good packet on a topic that nobody asked for
    "foreign",  # a good answer to a request that nobody made
    "nameless",  # an answer that does not say to which request
    "status",  # an answer whose status is no number
    "empty",  # an answer of no octets
    "text",  # an answer that is cut off in the middle of its JSON
    "list",  # an answer of good JSON that is no object
    "pause",  # 429 with a retry-after that is no number
    "hub",  # assigned to a hub whose name is none
]
_OCTETS: dict[Kind, bytes] = {
    "unknown": b"\xf0\x00",
    "partial": b"\x30\xff\x7f\x00\x04dev1",
    "publish": Publish("nonsense", b"\xff\x00\xff").encode(),
}
OCTETS = frozenset[Kind](("random", *_OCTETS))
"""What can stand for any answer; the others are answers to a request, at "twin" and "dps"."""
KINDS = frozenset[Kind](get_args(Kind))


def garbage(kind: Kind, device: str, topic: str, source: random.Random) -> bytes:
    """Octets to send to a device; `topic` is its request's, "" where it asked for nothing."""
    if kind == "random":
        return source.randbytes(source.randint(1, 200))
    return _OCTETS.get(kind) or _answer(kind, device, topic).encode()


def _answer(kind: Kind, device: str, topic: str) -> Publish:
    prefix = "$dps/registrations" if topic.startswith("$dps/") else "$iothub/twin"
    status, payload = "200", b"{}"
    query = "$rid=" + topic.partition("$rid=")[2].partition("&")[0]
    match kind:
        case "foreign":
            query = "$rid=0"
        case "nameless":
            query = ""
        case "status":
            status = "fine"
        case "empty":
            payload = b""
        case "text":
            payload = b'{"operationId": "1", "sta'
        case "list":
            payload = b"[1]"
        case "pause":
            status, query = "429", query + "&retry-after=soon"
        case "hub":
            state = {"deviceId": device, "assignedHub": 5}
            assigned = {"operationId": "1", "status": "assigned", "registrationState": state}
            payload = json.dumps(assigned).encode()
    return Publish(f"{prefix}/res/{status}/?{query}", payload)
