"""An uplink whose hub is always there: `python -m hil.recycling.uplink --channel FD`."""

from __future__ import annotations

import argparse
import select
import socket

from firmware import messages

SPEAK_S = 2.0
"""The supervisor replaces an uplink that says nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", type=int, required=True)
    with socket.socket(fileno=parser.parse_args().channel) as channel:
        messages.receive(channel)
        messages.send(channel, messages.UplinkReady("hub"))
        while True:
            if not select.select([channel], [], [], SPEAK_S)[0]:
                messages.send(channel, messages.UplinkHealth(connected=True))
                continue
            message = messages.receive(channel)
            if message is None or isinstance(message, messages.Stop):
                return
            if isinstance(message, messages.Deliver):
                messages.send(channel, messages.Delivered((message.number,)))


if __name__ == "__main__":
    main()
