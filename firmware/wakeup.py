"""What ends the supervisor's sleep: a child that speaks, a signal, or the end of a tick."""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Iterable
from types import FrameType


class Wakeup:
    """Turns SIGTERM and SIGINT into something to wait for."""

    def __init__(self) -> None:
        self._signals, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

        def note(number: int, frame: FrameType | None) -> None:
            del number, frame

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, note)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def wait(self, channels: Iterable[socket.socket], at_most_s: float) -> bool:
        """Sleep until a channel can be read or a signal comes; returns whether one came."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ)
            for channel in channels:
                selector.register(channel, selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(at_most_s)}
        came = self._signals in ready
        if came:
            os.read(self._signals, 64)
        return came
