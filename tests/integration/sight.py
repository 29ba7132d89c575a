"""The vision process on a rendered visitor, with a test as its supervisor."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec

from firmware import launcher, messages
from firmware.envelope import split
from firmware.record import Interaction
from hil.scenes.script import Camera, Script, Visitor
from tests import keys

DEVICE = "device-1"
SCRIPT = Script(
    title="One visitor walks up",
    seconds=2.4,
    interactions=1,
    camera=Camera(width_px=640, height_px=360),
    visitor=(Visitor(portrait="astronaut", path=((0.2, -0.4, 1.6), (2.3, 0.4, 1.2))),),
)


class Vision:
    """The process and the supervisor's end of its channel.

    Args:
        tree: settings.
        paused: the camera stays closed until `Resume`.
        before: code that breaks something in the process before it begins.

    Attributes:
        heard: what it has said so far.
    """

    def __init__(
        self,
        tree: dict[str, Any],
        recipient: bytes = keys.private_key().public_bytes(),
        *,
        before: str = "",
        paused: bool = False,
    ) -> None:
        self.child = started(before) if before else launcher.start("vision")
        self.child.channel.settimeout(60)
        self.heard: list[messages.AnyMessage] = []
        self.tell(messages.StartVision(tree, DEVICE, recipient, paused))
        self.tell(messages.NumberLease(1, 100))

    def tell(self, message: messages.AnyMessage) -> None:
        messages.send(self.child.channel, message)

    def wait_for(self, kind: type[messages.AnyMessage]) -> messages.AnyMessage:
        """The next message of this kind; fails when the process ends before."""
        while (message := messages.receive(self.child.channel)) is not None:
            self.heard.append(message)
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__}: {self.heard}")

    def ended(self) -> int:
        """Hear it out; returns its exit status."""
        while (message := messages.receive(self.child.channel)) is not None:
            self.heard.append(message)
        return self.child.process.wait(timeout=20)

    def close(self) -> None:
        """End it, however far it is."""
        self.child.channel.close()
        try:
            self.child.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.child.process.kill()
            self.child.process.wait()

    def said(self, kind: type[messages.AnyMessage]) -> list[Any]:
        return [message for message in self.heard if isinstance(message, kind)]

    @property
    def records(self) -> list[Interaction]:
        found = []
        for message in self.said(messages.Sealed):
            header, info, ciphertext = split(message.envelope)
            assert (header.number, header.device) == (message.number, DEVICE)
            text = keys.private_key().decrypt(ciphertext, info)
            found.append(msgspec.json.decode(text, type=Interaction))
        return found

    @property
    def failure(self) -> messages.Failed:
        return next(each for each in self.heard if isinstance(each, messages.Failed))


def started(before: str) -> launcher.Child:
    """Vision as the launcher starts it, after running some code in it."""
    code = (
        f"{before}\nfrom firmware.vision import __main__ as vision\nvision.sys.exit(vision.main())"
    )
    ours, theirs = messages.pair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "--channel", str(theirs.fileno())],
            env=launcher.environment("vision"),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    return launcher.Child(process, ours)
