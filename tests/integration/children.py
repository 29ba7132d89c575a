"""Stand-ins for vision and uplink that keep the contract of `firmware.messages` and do as told.

Run as `python -m tests.integration.children NAME CHANNEL SCRIPT`; SCRIPT is JSON. They let the
supervisor's own tests run in milliseconds; the real children have tests of their own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from firmware import messages


def vision(channel: socket.socket, script: dict[str, Any]) -> None:
    """Seals `seal` records, then waits, crashes, fails, ends its source or goes silent."""
    if "selftest" in script:
        messages.send(channel, messages.SelfTested(*script["selftest"]))
    if script.get("fail"):
        name, problem = script["fail"]
        messages.send(channel, messages.Failed(name, problem, "mend it"))
        sys.exit(12)
    messages.send(channel, messages.VisionReady("00c0ffee"))
    numbers: list[int] = []
    for _ in range(script.get("seal", 0)):
        while not numbers:
            message = messages.receive(channel)
            if isinstance(message, messages.NumberLease):
                numbers = list(range(message.first, message.first + message.count))
        number = numbers.pop(0)
        messages.send(channel, messages.Sealed(number, b"sealed %d" % number))
    match script.get("then", "wait"):
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "end":
            messages.send(channel, messages.SourceEnded(1))
        case "garbage":
            channel.send(b"\xc1 no message")
    while True:
        message = messages.receive(channel)
        if message is None or isinstance(message, messages.Stop):
            break
        _note(script, message)
    if script.get("seal_at_stop") and numbers:
        messages.send(channel, messages.Sealed(numbers[0], b"sealed at stop"))


def uplink(channel: socket.socket, script: dict[str, Any]) -> None:
    """Acknowledges what it gets, all of it or the first `acknowledge` only, then lives or dies."""
    if script.get("fail"):
        name, problem = script["fail"]
        messages.send(channel, messages.Failed(name, problem, "mend it"))
        sys.exit(16)
    messages.send(channel, messages.UplinkReady("hub", script.get("mark", 0)))
    if "desired" in script:
        messages.send(channel, messages.Desired(7, script["desired"]))
    left = script.get("acknowledge", 1 << 30)
    while True:
        message = messages.receive(channel)
        if message is None or isinstance(message, messages.Stop):
            return
        _note(script, message)
        if isinstance(message, messages.Deliver):
            if left == 0:
                sys.exit(script.get("status", 15))
            left -= 1
            for name in script.pop("methods", ()):
                messages.send(channel, messages.MethodCall("1", name, {}))
            messages.send(channel, messages.Delivered((message.number,)))


def _note(script: dict[str, Any], message: messages.AnyMessage) -> None:
    with Path(script["notes"]).open("a", encoding="utf-8") as notes:
        number = getattr(message, "number", getattr(message, "first", None))
        notes.write(json.dumps([type(message).__name__, number, _patch(message)]) + "\n")


def _patch(message: messages.AnyMessage) -> Any:
    if isinstance(message, messages.MethodResult):
        return message.status
    if isinstance(message, messages.Health):
        return message.body
    return getattr(message, "patch", getattr(message, "settings", None))


if __name__ == "__main__":
    name, descriptor, text = sys.argv[1:4]
    script = json.loads(text)
    attempts = Path(script["notes"] + ".starts")
    started = int(attempts.read_text()) if attempts.exists() else 0
    attempts.write_text(str(started + 1))
    turns = script.get("turns")
    if turns:
        script = {**script, **turns[min(started, len(turns) - 1)]}
    with socket.socket(fileno=int(descriptor)) as channel:
        messages.receive(channel)  # StartVision or StartUplink
        {"vision": vision, "uplink": uplink}[name](channel, script)
