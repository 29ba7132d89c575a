"""A hub in a process of its own, for a test, a demo or a campaign."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hil.local_hub.errors import ServiceError
from hil.local_hub.service import Service

START_WITHIN_S = 20.0


@contextlib.contextmanager
def running(state: Path, host: str, *options: str) -> Iterator[Service]:
    """A hub in a process of its own for as long as the block runs.

    Args:
        state: its directory, made when it is missing.
        host: a loopback address of its own, for the SDK knows only the ports 8883 and 443.
        options: further words of the command line, such as `--authority`, path.

    Raises:
        ServiceError: it does not start; its own words stand in `hub.log` in the state directory.
    """
    state.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "hil.local_hub", "--state", str(state), "--host", host, *options]
    log = state / "hub.log"
    with log.open("ab") as errors:
        # In a session of its own: at Ctrl-C a sensor still has records to deliver to it.
        hub = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
    assert hub.stdout
    try:
        if not select.select([hub.stdout], [], [], START_WITHIN_S)[0] or not hub.stdout.readline():
            raise ServiceError(503, f"the hub on {host} does not start", remedy=f"read {log}")
        service = Service(state)
        try:
            yield service
        finally:
            service.close()
    finally:
        hub.terminate()
        try:
            hub.wait(START_WITHIN_S)
        except subprocess.TimeoutExpired:
            hub.kill()
            hub.wait()
        hub.stdout.close()
