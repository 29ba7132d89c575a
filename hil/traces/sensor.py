"""The whole sensor under test: three processes and a hub, as the demonstration starts them.

`flow-sensor run`, provisioned from nothing, with a fresh home and without the variable `CI`, by
which some libraries hide what they otherwise do. Vision is held by ptrace from its second frame
on; supervisor and uplink run freely and are stopped only while all three are looked through.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from firmware.envelope import split_signature, unpack
from firmware.errors import PrivacyError
from firmware.vision import native
from hil.demo import pilot
from hil.local_hub import events, running
from hil.traces import rights
from hil.traces.stepping import held_from_rest
from hil.traces.subject import RULES

PATIENCE_S = 90.0
_RUN = """
import sys
from firmware import ward
from firmware.cli import main
ward.SILENT_S = 3600.0  # vision is held for longer than a supervisor waits for a word
sys.exit(main())
"""
_NOT_GIVEN = ("CI", "GITHUB_ACTIONS", "TMPDIR")


class Sensor:
    """A `Watched` of three processes.

    Args:
        folder: an empty folder for the files of hub, operator and device.
        clip: what the camera sees.

    Raises:
        PrivacyError: the sensor does not start, or may not be traced.
    """

    def __init__(self, folder: Path, clip: Path) -> None:
        self.frames = 0
        self.sealed: list[bytes] = []
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._told: dict[str, int] = {"wire": 0, "log": 0}
        try:
            self._start(clip)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Sensor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run_to(self, frames: int) -> bool:
        while self.frames < frames:
            if not self._held.turn():
                return False
            self.frames += 1
        return True

    def run_to_exit(self, *, terminate: bool = False) -> bool:
        if terminate:
            self._process.terminate()
            time.sleep(1.0)  # the supervisor tells vision
        return self._held.to_exit()

    @contextlib.contextmanager
    def at_rest(self, sealed: int) -> Iterator[Mapping[str, int]]:
        self._until(lambda: self._arrived() >= sealed, f"{sealed} records do not arrive")
        with contextlib.ExitStack() as stopped:
            for name in ("supervisor", "uplink"):
                stopped.enter_context(_stopped(self.pids[name]))
            yield self.pids

    def said(self) -> Mapping[str, bytes]:
        """`wire`: everything that the hub took, decrypted by TLS and by nothing else."""
        messages = list(islice(events(self._capture), self._told["wire"], None))
        self._told["wire"] += len(messages)
        wire = b"".join(
            m.body + json.dumps([m.message_id, m.properties, m.system]).encode() for m in messages
        )
        twin = json.dumps(self._hub.twin(pilot.DEVICE)).encode()
        text = self._log.read_bytes()
        new, self._told["log"] = text[self._told["log"] :], len(text)
        files = (path for path in self._partition.iterdir() if path.is_file())
        return {"wire": wire + twin, "log": new, "disk": b"".join(f.read_bytes() for f in files)}

    @property
    def kept_files(self) -> list[str]:
        """Names of the files on the identity partition that changed since it was provisioned."""
        changed = (p for p in self._partition.iterdir() if _state(p) != self._provisioned.get(p))
        return sorted(path.name for path in changed)

    @property
    def swap_bytes(self) -> int:
        """Most that any of the processes has in swap now."""
        found = 0
        for pid in self.pids.values():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmSwap:"):
                        found += 1024 * int(line.split()[1])
        return found

    @property
    def guarantees(self) -> dict[str, bool]:
        """As vision found them and the supervisor wrote them down, name → holds."""
        told = (event for event in self._events() if event["event"] == "guarantee")
        return {event["name"]: event["holds"] for event in told}

    # ---- start -----------------------------------------------------------------------------------

    def _start(self, clip: Path) -> None:
        host = pilot.loopback()
        self._hub = self._stack.enter_context(running(self._folder / "hub", host))
        self._capture = self._hub.capture
        device = self._folder / "device"
        device.mkdir()
        made = pilot.make(
            device,
            self._hub,
            host,
            source=str(clip),
            more=RULES,
        )
        self.key_file = made.secret
        self._partition = device / "identity"
        self._provisioned = {path: _state(path) for path in self._partition.iterdir()}
        self._log = self._folder / "sensor.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _RUN, "run", "--progress", "--settings", str(made.settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )
        self._stack.callback(self._end)
        # A new device's vision starts when its uplink has met the hub; so it can be told first.
        self._event("hub_connected")
        self._hub.call(pilot.DEVICE, "pause")
        self._event("vision_ready")
        self.pids = {"supervisor": self._process.pid}
        for event in self._events():
            if event["event"] == "process_started":
                self.pids[event["process"]] = event["pid"]
        self._event("status", lambda event: event["frames"] > 0)
        if any(event.get("frames", 0) > 1 for event in self._events()):
            raise PrivacyError("vision was told too late to rest", remedy="run the proof again")
        self._held = held_from_rest(
            self.pids["vision"], clip, lambda: self._hub.call(pilot.DEVICE, "resume")
        )
        self.frames = 2

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids["vision"], signal.SIGKILL)  # held: it could not obey
        self._process.kill()
        self._process.wait()

    # ---- what is heard of it ---------------------------------------------------------------------

    def _arrived(self) -> int:
        taken = [
            event for event in events(self._capture) if event.properties.get("kind") == "records"
        ]
        self.sealed = [split_signature(each)[0] for event in taken for each in unpack(event.body)]
        return len(self.sealed)

    def _events(self) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def _event(self, name: str, fits: Callable[[dict[str, Any]], bool] = lambda _: True) -> None:
        """Wait until the log has such an event."""
        self._until(
            lambda: any(event["event"] == name and fits(event) for event in self._events()),
            f"no {name} in its log",
        )

    def _until(self, condition: Callable[[], bool], failing: str) -> None:
        patience = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > patience or self._process.poll() is not None:
                raise PrivacyError(
                    f"the sensor stops the proof: {failing}", remedy=f"read {self._log}"
                )
            time.sleep(0.05)


def _environment() -> dict[str, str]:
    """The proof's own, with a fresh home, the models where they are, and nothing that says CI."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_GIVEN}
    return {
        **kept,
        "HOME": str(rights.HOME),
        "FLOW_SENSOR_CACHE": str(native.folder().parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
