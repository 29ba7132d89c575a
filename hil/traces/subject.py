"""The vision process under test: the real one, started as the supervisor starts it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from firmware import launcher, messages, settings
from firmware.errors import PrivacyError
from firmware.recipient import PrivateKey
from firmware.settings import Settings
from hil.traces.stepping import Held, waits

DEVICE = "proof"
_PATIENCE_S = 60.0
_NUMBERS = 4096


def rules(clip: Path, **sections: dict[str, Any]) -> Settings:
    """Settings under which a visitor of the proof's clips counts and is soon gone."""
    tree: dict[str, Any] = {
        "source": {"uri": str(clip), "realtime": False},
        "tracking": {"max_lost_s": 0.8, "confirm_after": 2},
        "interactions": {"minimum_dwell_s": 0.2},
        "privacy": {"selftest_every_s": 0},
    }
    return settings.check(tree | sections)


class Subject:
    """Vision, held at the end of a turn from its first one on.

    Attributes:
        guarantees: as it reported them when it was ready, name → holds.
        frames: turns that it has done.
        sealed: envelopes it has sent so far.
        last_word: the error it ended with, if it said one.
    """

    def __init__(
        self,
        current: Settings,
        key: PrivateKey,
        start: Callable[[], launcher.Child] = lambda: launcher.start("vision"),
    ) -> None:
        self.frames = 0
        self.sealed: list[bytes] = []
        self.health = messages.VisionHealth()
        self.last_word: messages.Failed | None = None
        child = start()
        self.process, self._channel = child.process, child.channel
        self._channel.settimeout(_PATIENCE_S)
        tree = settings.builtins(current)
        messages.send(self._channel, messages.StartVision(tree, DEVICE, key.public_bytes()))
        messages.send(self._channel, messages.NumberLease(1, _NUMBERS))
        messages.send(self._channel, messages.Pause())  # it looks once, then rests until Resume
        ready = self._hear()
        if not isinstance(ready, messages.VisionReady):
            self._bury()
            raise PrivacyError("vision does not start", remedy="run `flow-sensor doctor`")
        self.guarantees = {each.name: each.holds for each in ready.guarantees}
        self._clip = Path(current.source.uri)
        while not self._rests():  # after the first frame, with the clip let go …
            time.sleep(0.01)
        self._held = Held(self.process.pid)
        messages.send(self._channel, messages.Resume())
        while not self._reads():  # … and opens it for the second
            self._held.turn()
        self.frames = 2

    def __enter__(self) -> Subject:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self._bury()

    @property
    def pid(self) -> int:
        return self.process.pid

    def run_to(self, frames: int) -> bool:
        """Let it do turns until it has done so many. False when it ended before that."""
        while self.frames < frames:
            if not self._held.turn():
                return False
            self.frames += 1
            self._drain()
        return True

    def run_to_exit(self, send: int = 0) -> bool:
        """Let it run, after a signal if one is given, until it is about to leave the system."""
        if send:
            os.kill(self.pid, send)
        done = self._held.to_exit()
        self._drain()
        return done

    def _reads(self) -> bool:
        files = Path(f"/proc/{self.pid}/fd").iterdir()
        return any(file.readlink() == self._clip for file in files)

    def _rests(self) -> bool:
        return not self._reads() and waits(self.pid)

    def _drain(self) -> None:
        self._channel.setblocking(False)
        try:
            while self._hear() is not None:
                pass
        except BlockingIOError:
            pass
        finally:
            self._channel.settimeout(_PATIENCE_S)

    def _hear(self) -> messages.AnyMessage | None:
        try:
            message = messages.receive(self._channel)
        except (ConnectionError, TimeoutError):
            return None
        match message:
            case messages.Sealed(_, envelope):
                self.sealed.append(envelope)
            case messages.VisionHealth():
                self.health = message
            case messages.Failed():
                self.last_word = message
        return message

    def _bury(self) -> None:
        self._channel.close()
        self.process.wait(_PATIENCE_S)
