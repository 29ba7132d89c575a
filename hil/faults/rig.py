"""A sensor, a hub and everything between them that can be broken."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from firmware import key_statement, messages
from firmware.recipient import keygen
from firmware.uplink import identity
from hil.faults import sensor
from hil.faults.processes import Process
from hil.faults.sensor import Plan
from hil.faults.tally import Tally
from hil.local_hub import Service
from provisioning.authority import Authority
from provisioning.commands import public_pem
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
        (folder / "truth").touch()
        self._issued = Issued(folder / "ca")
        self.tally = Tally(folder / "truth", hub.capture, folder / "ca" / "issued")
        self._operator = identity.KeyFile.create(folder / "operator.key")
        self._serial = 0
        self._allowed = folder / "allowed"
        self.allow(0)
        self.no_dns = folder / "no-dns"
        self.log = folder / "sensor.log"
        self._clock = folder / "clock"
        self._clock.write_bytes(bytes(8))
        self._shim = _clock_shim(folder)
        self._plan = self._planned(address, python, rate, capacity)
        (folder / "plan.json").write_bytes(msgspec.json.encode(self._plan))
        self.process = self._start()

    def _planned(self, address: str, python: str, rate: float, capacity: int) -> Plan:
        partition = self.folder / "identity"
        self.batch = Authority.root("Campaign").batch("Campaign batch")
        request = identity.request(partition, DEVICE)
        certificate = self.batch.device(request)
        (partition / identity.CERTIFICATE_FILE).write_bytes(certificate)
        self._issued.keep(DEVICE, certificate)
        operator, recipient = self.folder / "operator.pem", self.folder / "recipient.statement"
        operator.write_bytes(public_pem(self._operator))
        recipient.write_bytes(self._new_statement())
        self.hub.enrol("campaign", group=True, certificates=[self.batch.certificate])
        settings: dict[str, object] = {
            "identity": {"directory": str(partition)},
            "sealing": {"operator": str(operator)},
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
            recipient=str(recipient),
            python=python,
            names=names,
            no_dns=str(self.no_dns),
            truth=str(self.folder / "truth"),
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

    # ---- the operator, and who would like to be one ----------------------------------------------

    def renew(self) -> None:
        """The operator answers the device's request for a new certificate, if it made one."""
        request = self.hub.twin(DEVICE)["reported"].get("identity", {}).get("request")
        if request:
            certificate = self.batch.device(request.encode(), device=DEVICE)
            self._issued.keep(DEVICE, certificate)
            self.hub.patch(DEVICE, {"identity": {"certificate": certificate.decode()}})

    def new_recipient(self) -> None:
        """The operator names another key to seal to; the reader keeps the ones before."""
        self._state(self._new_statement().decode())

    def swap_recipient(self) -> str:
        """The hub names a key of its own: → the reason why the device refuses it."""
        _, public = keygen(self.folder / f"hub-s-own-{time.monotonic_ns()}")
        forger = identity.KeyFile.create(self.folder / f"forger-{time.monotonic_ns()}.key")
        forged = self._signed(public.read_bytes(), forger).decode()
        good = self.hub.twin(DEVICE)["desired"].get("recipient", {}).get("statement")
        self._state(forged)
        until = time.monotonic() + STOP_WITHIN_S
        while not (reason := self._refusal()):
            if time.monotonic() > until:
                raise AssertionError("the hub's own recipient was not refused")
            time.sleep(0.1)
        self._state(good)
        return reason

    def _new_statement(self) -> bytes:
        self._serial += 1
        secret, public = keygen(self.folder / f"recipient-{self._serial}")
        self.tally.secrets.append(secret)
        return self._signed(public.read_bytes(), self._operator)

    def _signed(self, public: bytes, by: identity.KeyFile) -> bytes:
        return key_statement.issue(public, serial=self._serial, issued_utc_s=0, operator=by)

    def _state(self, statement: str | None) -> None:
        self.hub.patch(DEVICE, {"recipient": {"statement": statement}})

    def _refusal(self) -> str:
        return str(self.hub.twin(DEVICE)["reported"].get("recipient", {}).get("rejected") or "")

    def impostor(self, seconds: float) -> None:
        """Another device shows the same identity for a while."""
        with self.log.open("ab") as log:
            child = sensor.start(self._plan, "uplink", stderr=log)
        key = Path(self._plan.recipient).read_bytes()
        messages.send(child.channel, messages.StartUplink(self._plan.settings, DEVICE, key))
        time.sleep(seconds)
        child.process.kill()
        child.process.wait()
        child.channel.close()

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


def _clock_shim(folder: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    path = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    words = [compiler, "-O2", "-shared", "-fPIC", "-o", str(path), str(source)]
    subprocess.run(words, check=True, timeout=60)
    return path
