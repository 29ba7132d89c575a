"""Entry point of the updater: `python -m firmware.update --channel FD`, for one update."""

from __future__ import annotations

import argparse
import select
import socket
import sys
from contextlib import suppress

import msgspec

from firmware import messages
from firmware.errors import SensorError
from firmware.update import models
from firmware.update.worker import Places, Update


def _latest(channel: socket.socket, wait_s: float) -> messages.Works | None:
    """The supervisor's latest word, waited for so long.

    Raises:
        ConnectionError: it is gone.
    """
    word = None
    while select.select([channel], [], [], 0.0 if word else wait_s)[0]:
        message = messages.receive(channel)
        if message is None:
            raise ConnectionError("the supervisor is gone")
        word = message if isinstance(message, messages.Works) else word
    return word


def main() -> int:
    """Serve one request of the supervisor; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m firmware.update")
    parser.add_argument("--channel", type=int, required=True, metavar="FD")
    channel = socket.socket(fileno=parser.parse_args().channel)
    try:
        start = messages.receive(channel)
    except (ConnectionError, msgspec.DecodeError):
        return 1
    if not isinstance(start, messages.StartUpdate):
        return 1

    def tell(state: messages.UpdateState) -> None:
        with suppress(OSError):  # the supervisor is gone; an update does not depend on it
            messages.send(channel, state)

    def listen(wait_s: float) -> messages.Works | None:
        return _latest(channel, wait_s)

    try:
        if start.part == "models":
            models.ModelUpdate(start, tell, listen, models.Places()).run()
        else:
            Update(start, tell, Places()).run()
    except SensorError as error:
        tell(messages.UpdateState("refused", start.version, 0, error.problem))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
