"""The keeper: starts vision and uplink, keeps numbers, outbox, health and settings.

It never sees a frame or a plain record. One loop over two channels: what happens is a message
from a child, the end of a child, a signal, or time passing.
"""

from __future__ import annotations

import os
import time
from enum import Enum, auto
from pathlib import Path
from typing import Any

from firmware import __version__, clock, deadline, launcher, messages, settings
from firmware.errors import ConfigError, PrivacyError, SensorError, UplinkError
from firmware.event_log import log
from firmware.health import Health
from firmware.numbering import NumberFile, Numbers
from firmware.outbox import Outbox
from firmware.record import SCHEMA_VERSION
from firmware.settings import Settings
from firmware.updates import Updates
from firmware.wakeup import Wakeup
from firmware.ward import STEADY_S, Starter, Ward

TICK_S = 0.2
CLOSE_S = 15.0
"""Time that vision has to seal what is open when the sensor is stopped."""
DRAIN_S = 30.0
"""Time that the uplink then has to deliver what waits."""
STATUS_S = 2.0
REBOOT_STATUS = 17


class Phase(Enum):
    """The orderly stop: each phase ends when its work is done or its time is over."""

    RUNNING = auto()
    CLOSING = auto()  # vision seals the interactions that are open
    DRAINING = auto()  # the uplink delivers the outbox
    LEAVING = auto()  # the uplink says goodbye
    DONE = auto()


class Supervisor:
    """The three processes' composition.

    Args:
        current: checked settings.
        device: the device's id (registration id and certificate CN).
        recipient_key: public key that records are sealed to.
        progress: also log a `status` event every two seconds.
        start: how a child is started; the launcher's way, or a rig's.
    """

    def __init__(
        self,
        current: Settings,
        *,
        device: str,
        recipient_key: bytes,
        progress: bool = False,
        start: Starter = launcher.start,
    ) -> None:
        self.settings = self._given = current
        self.device = device
        self.recipient_key = recipient_key
        self.progress = progress
        self.outbox = Outbox(current.outbox.capacity)
        self.numbers = Numbers(NumberFile(Path(current.identity.directory) / "numbers"))
        self.health = Health()
        self.vision = Ward("vision", start, silent_s=deadline.VISION_S)
        # An uplink that its watchdog ended has lived that long: it goes on at once, however often.
        steady_s = min(current.hub.acknowledge_s, STEADY_S)
        # Vision's successor, while one is made ready; it has not seen a frame yet.
        self.heir = Ward("vision", start, silent_s=deadline.VISION_S)
        self.uplink = Ward("uplink", start, silent_s=deadline.UPLINK_S, steady_s=steady_s)
        self.updates = Updates(start)
        self.phase = Phase.RUNNING
        self.verdict: SensorError | None = None
        self._stop_reason = ""
        self._phase_ends_at = 0.0
        self._contact = False  # has the twin's mark of numbers been heard?
        self._paused = False
        self._heirs_word = messages.VisionReady("")
        self._rotated_key = b""  # not good before vision has checked it
        self._sealed_since_start = 0  # by the vision process that looks now …
        self._looks_since = 0.0  # … and since when it does
        self._untold = False  # a failed self-test that no health record has told of yet
        self._jumps = clock.JumpWatch()
        self._next_health = time.monotonic() + min(current.health.every_s, 10.0)
        self._next_status = 0.0

    def run(self) -> int:
        """Run until a signal, the end of a clip, or an error that no restart can mend.

        Returns: `REBOOT_STATUS` when the operator asked for a reboot, which the unit that runs
        this knows how to do; else 0.

        Raises:
            SensorError: what the sensor stopped for.
        """
        log("sensor_started", version=__version__, device=self.device, mode=self._mode)
        wakeup = Wakeup()
        try:
            while self.phase is not Phase.DONE:
                self._start()
                if wakeup.wait((w.child.channel for w in self.wards if w.child), TICK_S):
                    self.stop("signal")
                for message in self.vision.heard():
                    self._answer_vision(message)
                for message in self.heir.heard():
                    self._answer_heir(message)
                for message in self.uplink.heard():
                    self._answer_uplink(message)
                for ward in self.wards:
                    if ward.child is None and ward.failure:
                        self._judge(ward)
                self._hand_over()
                self._keep_time()
                self._advance()
        finally:
            for ward in self.wards:
                ward.end()
            waiting = len(self.outbox)
            sealed = waiting + self.outbox.delivered + self.outbox.dropped
            log("sensor_stopped", reason=self._stop_reason, waiting=waiting, sealed=sealed)
        if self.verdict:
            raise self.verdict
        return REBOOT_STATUS if self._stop_reason == "reboot" else 0

    @property
    def wards(self) -> tuple[Ward, ...]:
        return (self.heir, self.vision, self.uplink)

    def stop(self, reason: str) -> None:
        """Begin the orderly stop; a second call changes nothing."""
        if self.phase is Phase.RUNNING:
            self._stop_reason = reason
            self._enter(Phase.CLOSING, CLOSE_S)
            self.vision.post(messages.Stop())
            self.heir.kill()

    # ---- children ------------------------------------------------------------------------------

    def _start(self) -> None:
        running = self.phase is Phase.RUNNING
        if (running or self.phase is Phase.DRAINING) and self.uplink.due:
            self.health.uplink_replaced()
            tree = settings.builtins(self.settings)
            self.uplink.start(messages.StartUplink(tree, self.device, self.recipient_key))
        if running and self.vision.child is None and self.heir.ready:
            self._succeed()
        elif running and self.vision.due and (self.numbers.known or self._contact):
            self.vision.start(self._first_words(paused=self._paused))
            self._let_look()

    def _succeed(self) -> None:
        """The heir is vision now; the ward of the one before is free for the next heir."""
        self.vision, self.heir = self.heir, self.vision
        self.health.recycled += 1
        self._meet_vision(self._heirs_word)
        self._let_look()
        if not self._paused:
            self.vision.post(messages.Resume())

    def _first_words(self, *, paused: bool) -> messages.StartVision:
        tree = settings.builtins(self.settings)
        return messages.StartVision(tree, self.device, self.recipient_key, paused)

    def _let_look(self) -> None:
        """What vision needs to seal what it sees."""
        self._sealed_since_start, self._looks_since = 0, time.monotonic()
        self._lease(self.numbers.lease())
        if self._rotated_key:
            self.vision.post(messages.Recipient(self._rotated_key))

    def _judge(self, ward: Ward) -> None:
        """A child ended with a SensorError: is it one that starting again can mend?"""
        assert ward.failure is not None
        error, ward.failure = messages.as_error(ward.failure), None
        if ward is self.uplink:
            self.outbox.take_back()
        elif ward is self.heir:
            self.updates.successor_failed()
        passing = isinstance(error, UplinkError) or ward.proven or ward is self.heir
        if isinstance(error, PrivacyError | ConfigError) or not passing:
            self.verdict = self.verdict or error
            self.stop("failed")

    # ---- messages ------------------------------------------------------------------------------

    def _answer_vision(self, message: messages.AnyMessage) -> None:
        """What vision may say; anything else from it is passed over."""
        match message:
            case messages.Sealed(number, envelope):
                self._keep(number, envelope)
            case messages.VisionReady():
                self._meet_vision(message)
            case messages.VisionHealth():
                self.health.vision = message
                self._recycle()
            case messages.SelfTested():
                self.health.note(message)
                if not message.passed:
                    self._untold, self._next_health = True, 0.0
            case messages.Retired() if self.heir.ready and self.phase is Phase.RUNNING:
                self._succeed()
            case messages.SourceEnded():
                self.stop("source ended")

    def _meet_vision(self, ready: messages.VisionReady) -> None:
        """It looks from now on; what it looks with may be other than before."""
        health = self.health
        health.model_set, health.guarantees = ready.model_set, ready.guarantees
        health.models = ready.models
        for guarantee in ready.guarantees:
            log("guarantee", name=guarantee.name, holds=guarantee.holds)
        self._report({"model_set": ready.model_set, "models": ready.models or None})

    def _answer_heir(self, message: messages.AnyMessage) -> None:
        match message:
            case messages.VisionReady():
                self._heirs_word = message
                self.vision.post(messages.Retire())
            case messages.SelfTested():
                self._answer_vision(message)

    def _answer_uplink(self, message: messages.AnyMessage) -> None:
        """What the uplink may say; anything else from it is passed over."""
        match message:
            case messages.UplinkReady(_, reported_number, newer_key):
                self._meet_hub(reported_number, newer_key)
            case messages.Delivered(numbers):
                self.outbox.acknowledge(numbers)
            case messages.Recipient(public_key):
                self._seal_to(public_key)
            case messages.UplinkHealth():
                self.health.uplink_said(message)
            case messages.Desired(version, patch):
                self._apply(version, patch)
            case messages.MethodCall(request, name, payload):
                status, answer = self._call(name, payload)
                self.uplink.post(messages.MethodResult(request, status, answer))
                if name == "restart":  # numbers and outbox stay
                    for ward in self.wards:
                        ward.post(messages.Stop())
                log("method_called", method=name if status != 404 else "unknown", status=status)

    def _meet_hub(self, reported_number: int, newer_key: bytes) -> None:
        self._contact = True
        if newer_key:
            self._seal_to(newer_key)
        if self.numbers.start_after(reported_number):
            self.vision.post(messages.Stop())  # it is started again with good numbers
        self._report(
            {
                "firmware": __version__,
                "record_schema": SCHEMA_VERSION,
                "model_set": self.health.model_set,
                "numbers": self.numbers.mark,
                "image": self.updates.installed or None,
                "models": self.health.models or None,
                "paused": self._paused,
                "capabilities": {"mode": self._mode, "context": self.settings.policy.context},
            }
        )

    def _seal_to(self, key: bytes) -> None:
        """The recipient's key was rotated; vision checks for itself who signed that."""
        self._rotated_key = key
        self.vision.post(messages.Recipient(key))

    def _keep(self, number: int, envelope: bytes) -> None:
        self._sealed_since_start += 1
        if not self.outbox.put(number, envelope):
            log("outbox_dropped", dropped_total=self.outbox.dropped, waiting=len(self.outbox))
        more = self.numbers.seal(number)
        if more:
            self._lease(more)

    def _lease(self, numbers: range) -> None:
        self.vision.post(messages.NumberLease(numbers.start, len(numbers)))
        self._report({"numbers": self.numbers.mark})
        log("numbers_reserved", first=numbers.start, count=len(numbers))

    def _apply(self, version: int, patch: dict[str, Any]) -> None:
        """A desired patch from the twin: applied and told to vision, or refused with a reason."""
        try:
            self.updates.take_from(patch)
            patch = settings.filled(patch, self._given)
            self.settings = settings.patched(self.settings, patch)
        except ConfigError as error:
            log("settings_rejected", version=version)
            self._report({"settings": {"version": version, "rejected": error.problem}})
            return
        log("settings_applied", version=version, changed=sum(map(len, patch.values())))
        for ward in (self.vision, self.heir):
            ward.post(messages.Patch(patch))
        self._report({"settings": {"version": version, "rejected": None, **patch}})

    def _call(self, name: str, payload: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A direct method that concerns the whole device; the uplink answers its own."""
        answer: tuple[int, dict[str, Any]] = (200, {})
        match name:
            case "ping":
                answer = 200, {"uptime_s": int(time.monotonic() - self.health.started)}
            case "pause" | "resume":
                self._paused = name == "pause"
                self.vision.post(messages.Pause() if self._paused else messages.Resume())
                self._report({"paused": self._paused})
            case "selftest":
                self.vision.post(messages.SelfTest())
                answer = 202, {"result": "in the next health record"}
            case "update":
                answer = self.updates.called(payload)
            case "identify":
                log("identify", seconds=10)
            case "restart":
                pass  # once this is answered
            case "reboot":
                self.stop("reboot")
            case _:
                answer = 404, {"error": "no such method"}
        return answer

    def _report(self, patch: dict[str, Any]) -> None:
        if self.uplink.ready:
            self.uplink.post(messages.Report(patch))

    # ---- time ----------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        for ward in self.wards:
            ward.flush()
        if self.uplink.child is None:
            self.outbox.take_back()
        elif self.uplink.ready:
            for number, envelope in self.outbox.hand_over():
                self.uplink.post(messages.Deliver(number, envelope))

    def _keep_time(self) -> None:
        for ward in self.wards:
            if ward.silent:
                ward.kill()
        moved_s = self._jumps.jump_s()
        if moved_s:
            self.health.clock_jumps += 1
            log("clock_jumped", by_s=moved_s)
        works = self.phase is Phase.RUNNING and self.vision.ready and self.uplink.ready
        works = works and self.health.good
        if news := self.updates.turn(works=works, models=self.health.models):
            self._report({"update": news})
        now = time.monotonic()
        if now >= self._next_health and self.uplink.ready:
            self._next_health, self._untold = now + self.settings.health.every_s, False
            self.uplink.post(messages.Health(self._health_record()))
        if self.progress and now >= self._next_status:
            self._next_status = now + STATUS_S
            self._log_status()

    def _recycle(self) -> None:
        """Make a successor ready when the settings ask for a fresh vision process, or an update
        for other models.

        It takes over when vision has retired, for which nobody may be in view. A clip is not
        recycled: it would begin again.
        """
        privacy = self.settings.privacy
        due = (
            0 < privacy.recycle_after <= self._sealed_since_start
            or 0 < privacy.recycle_every_s <= time.monotonic() - self._looks_since
            or self.updates.models not in (None, self.health.models)
        )
        if due and self.settings.source.camera and self.heir.due:
            self.heir.start(self._first_words(paused=True))

    def _enter(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self._phase_ends_at = time.monotonic() + seconds

    def _advance(self) -> None:
        late = time.monotonic() > self._phase_ends_at
        if self.phase is Phase.CLOSING and (late or self.vision.child is None):
            self.vision.kill()
            self._enter(Phase.DRAINING, DRAIN_S)
        elif self.phase is Phase.DRAINING and (late or not (self.outbox or self._untold)):
            self.uplink.post(messages.Stop())
            self._enter(Phase.LEAVING, CLOSE_S)
        elif self.phase is Phase.LEAVING and (late or self.uplink.child is None):
            self._enter(Phase.DONE, 0)

    # ---- words about itself --------------------------------------------------------------------

    @property
    def _mode(self) -> str:
        return self.settings.policy.mode

    def _health_record(self) -> dict[str, Any]:
        planned = self.health.recycled + (self.heir.child is not None)
        visions, uplinks = self.vision.starts + self.heir.starts - planned, self.uplink.starts
        self.health.restarts = {"vision": max(visions - 1, 0), "uplink": max(uplinks - 1, 0)}
        return self.health.record(
            **self.outbox.totals,
            paused=self._paused,
            pids={"supervisor": os.getpid(), **{ward.name: ward.pid for ward in self.wards}},
        )

    def _log_status(self) -> None:
        log(
            "status",
            **self.health.sight,
            **self.outbox.totals,
            connected=self.uplink.ready,
        )
