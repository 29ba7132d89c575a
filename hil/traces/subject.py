"""The vision process under test: the real one, started as the supervisor starts it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from firmware import launcher, messages, settings
from firmware.errors import PrivacyError
from firmware.recipient import PrivateKey
from firmware.settings import Settings
from hil.traces.stepping import held_from_rest

DEVICE = "proof"
_PATIENCE_S = 60.0
_NUMBERS = 4096

RULES: Mapping[str, dict[str, Any]] = {
    "source": {"realtime": False},
    "tracking": {"max_lost_s": 0.8, "confirm_after": 2},
    "interactions": {"minimum_dwell_s": 0.2},
    "privacy": {"selftest_every_s": 0},
}
"""Settings under which a visitor of the proof's clips counts and is soon gone."""


def rules(clip: Path) -> Settings:
    """`RULES` for one clip, checked."""
    return settings.check({**RULES, "source": {**RULES["source"], "uri": str(clip)}})


class Watched(Protocol):
    """A sensor, or its vision alone, held at the end of a turn from the second one on.

    Attributes:
        frames: turns that vision has done.
        sealed: envelopes that have left it so far.
    """

    frames: int

    @property
    def sealed(self) -> Sequence[bytes]: ...

    def run_to(self, frames: int) -> bool:
        """Let vision do turns until it has done so many. False when it ended before that."""

    def run_to_exit(self, *, terminate: bool = False) -> bool:
        """Let it run, after the order to stop if so asked, until vision is about to leave the
        system. False when it was killed before that."""

    def at_rest(self, sealed: int) -> AbstractContextManager[Mapping[str, int]]:
        """Name and number of each process, all of them stopped, when `sealed` envelopes are out."""

    def said(self) -> Mapping[str, bytes]:
        """What went out since the last call, by way: `wire`, `log`, `disk`."""


class Subject:
    """Vision alone, started and told what the supervisor tells it.

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
        """
        Args:
            start: another way to start it, such as `altered.start`.

        Raises:
            PrivacyError: it does not start, or may not be traced.
        """
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
        self._held = held_from_rest(
            self.pid,
            Path(current.source.uri),
            lambda: messages.send(self._channel, messages.Resume()),
        )
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
        while self.frames < frames:
            if not self._held.turn():
                return False
            self.frames += 1
            self._drain()
        return True

    def run_to_exit(self, *, terminate: bool = False) -> bool:
        if terminate:
            os.kill(self.pid, signal.SIGTERM)
        done = self._held.to_exit()
        self._drain()
        return done

    def rest(self) -> None:
        """Pause it: it seals what is open, wipes everything and waits."""
        messages.send(self._channel, messages.Pause())
        self._held.to_poll()
        self._drain()

    def crash(self) -> bool:
        """End it as a fault in a library would. Returns whether the kernel wrote a core."""
        return self._held.crash()

    @contextlib.contextmanager
    def at_rest(self, sealed: int) -> Iterator[Mapping[str, int]]:
        del sealed  # what it says arrives at once
        yield {"vision": self.pid}

    def said(self) -> Mapping[str, bytes]:
        return {}

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
