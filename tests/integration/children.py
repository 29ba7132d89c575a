"""Stand-ins for vision and uplink that keep the contract of `firmware.messages` and do as told.

Run as `python -m tests.integration.children NAME CHANNEL SCRIPT`; SCRIPT is JSON. They let the
supervisor's own tests run in milliseconds; the real children have tests of their own.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from firmware import messages


def vision(channel: socket.socket, script: dict[str, Any]) -> None:
    """Seals `seal` records, then waits, crashes, fails, ends its source or goes silent."""
    for figures in script.get("selftests", ()):
        messages.send(channel, messages.SelfTested(*figures))
    _fail(channel, script, 12)
    messages.send(channel, messages.VisionReady("00c0ffee", (), script.get("models", "")))
    numbers = _rest(channel, script) if script["paused"] else []
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
        if "healthy" in script and not select.select([channel], [], [], 0.02)[0]:
            messages.send(channel, messages.VisionHealth(frames=1))
            continue
        message = messages.receive(channel)
        if message is None or isinstance(message, messages.Stop | messages.Retire):
            break
        _note(script, message)
    if script.get("seal_at_stop") and numbers:
        messages.send(channel, messages.Sealed(numbers[0], b"sealed at stop"))
    for seconds in script.get("lingers_s", ()):
        messages.send(channel, messages.Retired())
        time.sleep(seconds)


def uplink(channel: socket.socket, script: dict[str, Any]) -> None:
    """Acknowledges what it gets, all of it or the first `acknowledge` only, then lives or dies."""
    _fail(channel, script, 16)
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


def _fail(channel: socket.socket, script: dict[str, Any], status: int) -> None:
    if script.get("fail"):
        name, problem = script["fail"]
        messages.send(channel, messages.Failed(name, problem, "mend it"))
        sys.exit(status)


def _rest(channel: socket.socket, script: dict[str, Any]) -> list[int]:
    """Until the supervisor says resume; returns the numbers that it has leased meanwhile."""
    numbers: list[int] = []
    while True:
        message = messages.receive(channel)
        if message is None or isinstance(message, messages.Stop):
            sys.exit()
        _note(script, message)
        if isinstance(message, messages.NumberLease):
            numbers = list(range(message.first, message.first + message.count))
        if isinstance(message, messages.Resume):
            return numbers


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
        start = messages.receive(channel)
        script["paused"] = isinstance(start, messages.StartVision) and start.paused
        {"vision": vision, "uplink": uplink}[name](channel, script)
