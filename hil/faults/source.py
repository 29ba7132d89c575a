"""Envelopes at a steady rate instead of vision: `python -m hil.faults.source --channel FD …`.

It obeys as vision does: leases, pause, a new recipient's key that the operator has signed.
Each number is written to the file of truth before it is sealed, so that a record which died with
a process is missed by the tally.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import socket
import time
from collections import deque
from pathlib import Path

from firmware import messages, sealing, settings
from firmware.errors import SealError
from firmware.key_statement import RecipientKey
from firmware.record import Interaction

HEALTH_S = 2.0


class Source:
    """One run of the stand-in.

    Args:
        truth: file of all numbers ever sealed, one for each line; kept over restarts.
        rate: records per second.
        allowed: file with the number of records that may be sealed so far, in all runs together.
    """

    def __init__(self, channel: socket.socket, truth: Path, rate: float, allowed: Path) -> None:
        self._channel = channel
        self._truth = truth.open("a", encoding="ascii")
        self._sealed = len(truth.read_text(encoding="ascii").splitlines())
        self._allowed = allowed
        self._pause_s = 1 / rate
        self._numbers: deque[int] = deque()
        self._paused = False

    def run(self) -> None:
        """Seal at the rate until the supervisor says stop or is gone."""
        start = messages.receive(self._channel)
        assert isinstance(start, messages.StartVision)
        self._device, self._paused = start.device, start.paused
        self._key = RecipientKey(settings.operator_key(settings.check(start.settings).sealing))
        self._recipient = self._key.take(start.recipient_key)
        messages.send(self._channel, messages.VisionReady("0000fa17"))
        due = spoke = time.monotonic()
        while self._obeys(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            if now - spoke > HEALTH_S:
                spoke = now
                messages.send(self._channel, messages.VisionHealth())
            if now >= due:
                due = max(due + self._pause_s, now - 1.0)
                free = bool(self._numbers) and not self._paused
                if free and self._sealed < int(self._allowed.read_text("ascii")):
                    self._sealed += 1
                    self._seal(self._numbers.popleft())

    def _obeys(self, timeout_s: float) -> bool:
        """Take in what the supervisor says; False when it is time to go."""
        while select.select([self._channel], [], [], timeout_s)[0]:
            message = messages.receive(self._channel)
            if message is None or isinstance(message, messages.Stop):
                return False
            match message:
                case messages.NumberLease(first, count):
                    self._numbers.extend(range(first, first + count))
                case messages.Recipient(public_key):
                    with contextlib.suppress(SealError):  # whoever sent it, ours is good
                        self._recipient = self._key.take(public_key)
                case messages.Pause() | messages.Resume():
                    self._paused = isinstance(message, messages.Pause)
            timeout_s = 0.0
        return True

    def _seal(self, number: int) -> None:
        self._truth.write(f"{number}\n")
        self._truth.flush()
        interaction = Interaction(start_utc_s=int(time.time()) // 60 * 60, dwell_ms=1000)
        envelope = sealing.seal(
            interaction, number=number, device=self._device, recipient=self._recipient
        )
        messages.send(self._channel, messages.Sealed(number, envelope))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--allowed", type=Path, required=True)
    options = parser.parse_args()
    channel = socket.socket(fileno=options.channel)
    with contextlib.suppress(ConnectionError):  # the supervisor is gone
        Source(channel, options.truth, options.rate, options.allowed).run()


if __name__ == "__main__":
    main()
