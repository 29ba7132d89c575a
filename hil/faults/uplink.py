"""The real uplink behind a resolver that can be switched off: `python -m hil.faults.uplink …`.

The names in `--names` stand for addresses, as in /etc/hosts; while the file `--no-dns` exists no
name resolves at all.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from azure.iot.device.provisioning.pipeline import constant

from firmware.drivers import azure_hub
from firmware.uplink import __main__ as entry
from firmware.uplink import worker

_resolve = socket.getaddrinfo
HEALTH_S, KEEP_ALIVE_S, SDK_TIMEOUT_S = 0.5, 4, 4
"""Instead of 5 s, 25 s and the 30 s that the SDK gives a registration service to answer."""


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--names", type=json.loads, required=True)
    parser.add_argument("--no-dns", type=Path, required=True)
    options, rest = parser.parse_known_args()

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        if options.no_dns.exists():
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return _resolve(options.names.get(host, host), *more, **named)

    socket.getaddrinfo = resolve
    worker.HEALTH_S = HEALTH_S
    vars(azure_hub)["KEEP_ALIVE_S"] = KEEP_ALIVE_S
    constant.DEFAULT_TIMEOUT_INTERVAL = SDK_TIMEOUT_S
    sys.argv[1:] = rest
    return entry.main()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
