"""Entry point of the uplink process: `python -m firmware.uplink --channel FD`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from contextlib import suppress

from firmware import deadline, messages
from firmware.drivers.azure_hub import AzureCloud
from firmware.errors import SensorError
from firmware.uplink.worker import Uplink


def main() -> int:
    """Serve one supervisor; returns the exit status."""
    parser = argparse.ArgumentParser(prog="firmware.uplink", description=__doc__)
    parser.add_argument("--channel", type=int, required=True, metavar="FD")
    channel = socket.socket(fileno=parser.parse_args().channel)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the supervisor says when to stop
    deadline.extend(deadline.START_S)
    start = messages.receive(channel)
    if not isinstance(start, messages.StartUplink):
        return 1
    try:
        uplink = Uplink(channel, start, AzureCloud())
        threading.excepthook = uplink.thread_died
        uplink.run()
    except SensorError as error:
        with suppress(OSError):
            messages.send(channel, messages.failed(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # threads of the SDK may hang, and an exit would wait for them
