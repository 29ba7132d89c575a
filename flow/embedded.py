"""`python -m flow.embedded`: everything on this machine, for a trial.

SQLite, a local hub, a recipient key, one ingest worker and the web server, in FLOW_HOME
(`build/flow`). The first start makes a year of demo data and prints the first administrator.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from firmware.errors import SensorError
from firmware.recipient import keygen
from flow.environment import HOME, ROOT

HOST = os.environ.get("FLOW_HOST", "127.0.0.1")
PORT = os.environ.get("FLOW_PORT", "8600")
HUB = os.environ.get("FLOW_HUB_ADDRESS", "127.0.6.1")


def recipient_key(folder: Path) -> Path:
    """The private key of this trial, made at the first start."""
    found = sorted(folder.glob("recipient-*.key"))
    return found[0] if found else keygen(folder)[0]


def main() -> int:
    state = HOME / "hub"
    state.mkdir(parents=True, exist_ok=True)
    key = recipient_key(HOME / "keys")
    environment = {
        **os.environ,
        "FLOW_RECIPIENT_KEYS": str(key),
        "FLOW_LOCAL_HUB": str(state),
        "FLOW_HOSTS": f"{HOST},localhost",
        "FLOW_BASE_URL": f"http://{HOST}:{PORT}",
    }
    setup = [sys.executable, "-m", "flow", "setup", "--demo"]
    if subprocess.run(setup, cwd=ROOT, env=environment, check=False).returncode:
        return 1
    demo = sorted((ROOT / "build" / "demo").glob("run-*/hub/capture.jsonl"))
    if demo:  # `make demo` ran before: show its visitors too
        adopt = [sys.executable, "-m", "flow", "adopt", str(demo[-1].parent.parent)]
        subprocess.run(adopt, cwd=ROOT, env=environment, check=False)
    children: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        hub = ["-m", "hil.local_hub", "--state", str(state), "--host", HUB]
        children.append(_start(hub, environment, HOME / "hub.log"))
        _wait(state / "control.sock", children[0])
        ingest = ["-m", "flow", "ingest", "--local-hub", str(state)]
        children.append(_start(ingest, environment, HOME / "ingest.log"))
        web = ["-m", "gunicorn", "--workers", "2", "--bind", f"{HOST}:{PORT}", "flow.wsgi"]
        children.append(_start(web, environment, HOME / "web.log"))
        print(f"flow: open http://{HOST}:{PORT}   (Ctrl-C ends it)")
        print(f"flow: sensors seal to {key.with_suffix('.pub')} and connect to {HUB}:8883")
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
        print(f"flow: a part ended; its log is in {HOME}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for child in reversed(children):
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)


def _start(words: Sequence[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=environment, stdout=file, stderr=file
        )


def _wait(path: Path, child: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if path.exists() and child.poll() is None:
            return
        time.sleep(0.1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SensorError as error:
        print(f"flow: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
