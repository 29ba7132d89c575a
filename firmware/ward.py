"""One supervised child: its channel, its unsent messages, and when it is started again."""

from __future__ import annotations

import random
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from firmware import launcher, messages
from firmware.deadline import START_S
from firmware.event_log import log

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
STEADY_S = 60.0

Starter: TypeAlias = Callable[[launcher.Name], launcher.Child]


class Ward:
    """A child of the supervisor, started and restarted with exponential backoff and jitter.

    Args:
        name: which of the two children.
        start: how it is started; the launcher's way, or a rig's.
        silent_s: when it says nothing for so long it is ended and started again.
        steady_s: when it ran so long it has earned a quick restart.

    Attributes:
        ready: it has said that it works since it was started.
        proven: it has said so at least once since the supervisor was started.
        failure: the SensorError it named as its last word, if any.
    """

    def __init__(
        self,
        name: launcher.Name,
        start: Starter = launcher.start,
        *,
        silent_s: float,
        steady_s: float = STEADY_S,
    ) -> None:
        self.name: launcher.Name = name
        self.child: launcher.Child | None = None
        self.ready = False
        self.proven = False
        self.failure: messages.Failed | None = None
        self.starts = 0
        self._launch = start
        self._silent_s = silent_s
        self._steady_s = steady_s
        self._unsent: deque[messages.AnyMessage] = deque()
        self._pause_s = FIRST_PAUSE_S
        self._started_at = self._heard_at = self._start_at = 0.0

    @property
    def due(self) -> bool:
        """Whether it is not running and its pause is over."""
        return self.child is None and time.monotonic() >= self._start_at

    @property
    def silent(self) -> bool:
        spoke = self._heard_at > self._started_at
        patience_s = self._silent_s if spoke else max(self._silent_s, START_S)
        return self.child is not None and time.monotonic() - self._heard_at > patience_s

    @property
    def pid(self) -> int:
        return self.child.process.pid if self.child else 0

    def start(self, first: messages.AnyMessage) -> None:
        """Start it; `first` is the first message that it gets."""
        try:
            self.child = self._launch(self.name)
        except ConnectionError:  # its predecessor has not quite gone, or the system is stopping
            self._start_at = time.monotonic() + self._pause_s
            return
        self.child.channel.setblocking(False)
        self.starts += 1
        self.failure = None
        self._started_at = self._heard_at = time.monotonic()
        log("process_started", process=self.name, pid=self.pid, attempt=self.starts)
        self.post(first)

    def post(self, message: messages.AnyMessage) -> None:
        """Send now or, while the child's queue is full, at a later turn; order is kept."""
        if self.child:
            self._unsent.append(message)
            self.flush()

    def flush(self) -> None:
        while self._unsent and self.child:
            try:
                messages.send(self.child.channel, self._unsent[0])
            except BlockingIOError:
                return
            except OSError:  # it is gone; the closed channel is read at the next turn
                self._unsent.clear()
                return
            self._unsent.popleft()

    def heard(self) -> Iterator[messages.AnyMessage]:
        """What it has said. When the last of it was read and the channel is closed, `child`
        is None and `failure` says why it ended, if it knew."""
        while self.child:
            try:
                message = messages.receive(self.child.channel)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it died with mail unread; what it had said can still be read
            except msgspec.DecodeError:
                self.kill()  # a child that breaks the contract is not to be trusted further
                message = None
            if message is None:
                self._bury(self.child)
                return
            self._heard_at = time.monotonic()
            if isinstance(message, messages.Failed):
                self.failure = message
                log("process_failed", process=self.name, error=message.error)
                continue
            if isinstance(message, messages.VisionReady | messages.UplinkReady):
                self.ready = self.proven = True
            yield message

    def kill(self) -> None:
        if self.child:
            self.child.process.kill()

    def end(self) -> None:
        """Kill it and wait until it has gone."""
        if self.child:
            self.kill()
            self._bury(self.child)

    def _bury(self, child: launcher.Child) -> None:
        child.channel.close()
        try:
            status = child.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.process.kill()
            status = child.process.wait()
        if time.monotonic() - self._started_at >= self._steady_s:
            self._pause_s = FIRST_PAUSE_S
        pause_s = 0.0
        if status:  # an orderly end, such as a recycled vision process, needs no pause
            pause_s = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self._start_at = time.monotonic() + pause_s
        self.child, self.ready = None, False
        self._unsent.clear()
        log(
            "process_ended",
            process=self.name,
            exit_code=status,
            restart_in_ms=round(pause_s * 1000),
        )
