"""A sensor, a hub and everything between them that can be broken."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from firmware import envelope
from firmware.device_trust import DeviceTrust
from firmware.reader import Reader
from firmware.recipient import PrivateKey, keygen
from firmware.uplink import identity
from hil.faults.processes import Process
from hil.faults.sensor import Plan
from hil.local_hub import Service, events
from provisioning.authority import Authority
from provisioning.issued import Issued

HUB = "hub.campaign.test"
DEVICE = "campaign-1"
ID_SCOPE = "0ne0campaign"
STOP_WITHIN_S = 60.0
ACKNOWLEDGE_S = 2.0
"""The watchdog's time, a fifteenth of the product's."""


class Rig:
    """One sensor under test.

    Args:
        folder: working files.
        hub: a running hub that is named `HUB` and listens on `address`.
        python: interpreter for the uplink.
        rate: records per second, while `allow` permits.
        capacity: of the outbox.
    """

    def __init__(
        self,
        folder: Path,
        hub: Service,
        address: str,
        *,
        python: str,
        rate: float,
        capacity: int = 100_000,
    ) -> None:
        self.folder, self.hub = folder, hub
        self.truth = folder / "truth"
        self.truth.touch()
        self._allowed = folder / "allowed"
        self.allow(0)
        self.no_dns = folder / "no-dns"
        self.log = folder / "sensor.log"
        self._clock = folder / "clock"
        self._clock.write_bytes(bytes(8))
        self._shim = _clock_shim(folder)
        self._read_to = 0
        self.stored: Counter[int] = Counter()
        """Interaction number → how often the hub has stored it."""
        self.messages: Counter[str] = Counter()
        """Message id → how often."""
        plan = self._plan(address, python, rate, capacity)
        (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
        self.process = self._start()

    def _plan(self, address: str, python: str, rate: float, capacity: int) -> Plan:
        partition, ca = self.folder / "identity", self.folder / "ca"
        self.batch = Authority.root("Campaign").batch("Campaign batch")
        self._issued = Issued(ca)
        request = identity.request(partition, DEVICE)
        certificate = self.batch.device(request)
        (partition / identity.CERTIFICATE_FILE).write_bytes(certificate)
        self._issued.keep(DEVICE, certificate)
        self._secret, public = keygen(self.folder / "recipient")
        self.hub.enrol("campaign", group=True, certificates=[self.batch.certificate])
        settings: dict[str, object] = {
            "identity": {"directory": str(partition)},
            "outbox": {"capacity": capacity},
            "health": {"every_s": 5.0},
            "hub": {
                "id_scope": ID_SCOPE,
                "provisioning_host": HUB,
                "trust": str(self.hub.trust),
                "acknowledge_s": ACKNOWLEDGE_S,
                "retry_s": 0.2,
                "retry_most_s": 2.0,
                "first_contact_s": 0.5,
            },
        }
        names = {HUB: address}
        return Plan(
            settings=settings,
            device=DEVICE,
            recipient=str(public),
            python=python,
            names=names,
            no_dns=str(self.no_dns),
            truth=str(self.truth),
            rate=rate,
            allowed=str(self._allowed),
        )

    # ---- the sensor ------------------------------------------------------------------------------

    def _start(self) -> subprocess.Popen[bytes]:
        variables = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        if self._shim:
            variables |= {"LD_PRELOAD": str(self._shim), "FLOW_CLOCK": str(self._clock)}
        words = [sys.executable, "-m", "hil.faults.sensor", str(self.folder / "plan.json")]
        with self.log.open("ab") as log:
            return subprocess.Popen(words, stderr=log, env=variables, start_new_session=True)

    def allow(self, total: int) -> None:
        """Let the source seal until there are so many in all."""
        draft = self._allowed.with_suffix(".new")
        draft.write_text(str(total), "ascii")
        draft.replace(self._allowed)

    def stop(self) -> int:
        """SIGTERM: seal, drain, leave; → the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_WITHIN_S)

    def kill(self) -> None:
        """What a power cut does: the supervisor is gone without a word, and so are the others."""
        children = self.supervisor().children()
        self.process.kill()
        self.process.wait()
        for child in children:
            child.kill()

    def start(self) -> None:
        self.process = self._start()

    def supervisor(self) -> Process:
        return Process(self.process.pid)

    def uplink(self) -> Process | None:
        """The uplink that runs now."""
        children = self.supervisor().children()
        return next((one for one in children if "hil.faults.uplink" in one.words()), None)

    # ---- what has come of it ---------------------------------------------------------------------

    def sealed(self) -> list[int]:
        """All numbers that were ever sealed, in order."""
        return [int(line) for line in self.truth.read_text("ascii").splitlines()]

    def look(self) -> int:
        """Read what the hub has stored since; → records stored so far, each counted once."""
        with self.hub.capture.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self._count(json.loads(line))
        return len(self.stored)

    def _count(self, line: dict[str, Any]) -> None:
        if line["properties"].get("kind") != "records":
            return
        self.messages[line["message_id"]] += 1
        for signed in envelope.unpack(base64.b64decode(line["body"])):
            self.stored[envelope.split(signed)[0].number] += 1

    def opened(self) -> Counter[int]:
        """What the reader makes of the capture: number → how often it gave it out."""
        trust = DeviceTrust.from_folder(self.folder / "ca" / "issued")
        reader = Reader([PrivateKey.load(self._secret)], trust)
        found: Counter[int] = Counter()
        for event in events(self.hub.capture):
            reading = reader.read(event.body, event.device)
            assert not reading.refused, reading.refused
            found.update(one.number for one in reading.records if one.kind == "interaction")
        return found

    def renew(self) -> None:
        """The operator answers the device's request for a new certificate, if it made one."""
        request = self.hub.twin(DEVICE)["reported"].get("identity", {}).get("request")
        if request:
            certificate = self.batch.device(request.encode(), device=DEVICE)
            self._issued.keep(DEVICE, certificate)
            self.hub.patch(DEVICE, {"identity": {"certificate": certificate.decode()}})

    # ---- what can be broken besides the hub ------------------------------------------------------

    @property
    def clock_can_jump(self) -> bool:
        return self._shim is not None

    def set_clock(self, offset_s: int) -> None:
        """Move the sensor's wall clock; monotonic time goes on."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("q", offset_s))

    def set_dns(self, *, works: bool) -> None:
        if works:
            self.no_dns.unlink(missing_ok=True)
        else:
            self.no_dns.touch()


class Link:
    """The loopback interface of a network namespace of our own, which may lose packets."""

    def __init__(self) -> None:
        self.can_lose = bool(shutil.which("nft")) and os.environ.get("FLOW_NAMESPACE") == "1"
        if self.can_lose:
            made = _nft("add table inet campaign") and _nft(
                "add chain inet campaign in { type filter hook input priority 0; }"
            )
            self.can_lose = made and _nft(
                "add rule inet campaign in numgen random mod 100 < 0 drop"
            )
            self.lose(0)

    def lose(self, percent: int) -> None:
        """Drop so many of a hundred packets that arrive."""
        if self.can_lose:
            _nft("flush chain inet campaign in")
            if percent:
                _nft(f"add rule inet campaign in numgen random mod 100 < {percent} drop")


def _nft(rule: str) -> bool:
    done = subprocess.run(["nft", rule], capture_output=True, timeout=10, check=False)
    return done.returncode == 0


def _clock_shim(folder: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    path = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    words = [compiler, "-O2", "-shared", "-fPIC", "-o", str(path), str(source)]
    subprocess.run(words, check=True, timeout=60)
    return path
