"""The loop of the vision process: look, seal, send; and do what the supervisor says."""

from __future__ import annotations

import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import FrameType

from firmware import deadline, messages, settings
from firmware.errors import CameraError, PrivacyError, SealError
from firmware.event_log import log
from firmware.record import Interaction
from firmware.sealing import Recipient, seal
from firmware.vision import selftest, wiping
from firmware.vision.frames import FrameSource
from firmware.vision.pipeline import Pipeline
from firmware.vision.tally import Tally

HEALTH_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between two tries to open a camera that was lost."""
QUIET_S = 10.0
"""The self-test waits for so long an empty scene: the camera is not read while it runs."""
NUMBERS_S = 30.0
"""How long an ended interaction waits for the supervisor to lease more numbers."""


class Worker:
    """Turns frames into sealed interactions until the source ends or somebody says stop.

    Args:
        channel: to the supervisor.
        open_source: opens the source; called again when a camera was lost or paused.
        pipeline: made for the source's size of frames.
        source: the source, open.
        recipient: whom records are sealed to.
        rotate: checks a new recipient key, and who signed it.
        device: the device's id, for the header.
        paused: rest from the start, with the source closed, until the supervisor says resume.
    """

    def __init__(
        self,
        channel: socket.socket,
        open_source: Callable[[], FrameSource],
        pipeline: Pipeline,
        *,
        source: FrameSource,
        recipient: Recipient,
        rotate: Callable[[bytes], Recipient],
        device: str,
        paused: bool = False,
    ) -> None:
        self._channel = channel
        self._open_source = open_source
        self._pipeline = pipeline
        self._source = source
        self._recipient = recipient
        self._rotate = rotate
        self._device = device
        self._tally = Tally()
        self._numbers: deque[int] = deque()
        self._stopping = self._retiring = False
        self._paused = paused
        self._attempts = 0  # to open the camera since it last gave a frame
        self._lost_at = 0.0
        self._dirty = False  # somebody was in view since the last wipe
        self._test_asked = False
        self._tested_at = self._busy_at = time.monotonic()
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def stop(self, *_: int | FrameType | None) -> None:
        """End after this turn; also a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """The loop. Open interactions are sealed and everything is wiped however it ends.

        Raises:
            CameraError: a clip cannot be read to its end.
            EngineError, SealError: vision must be replaced.
            OSError: the supervisor is gone.
        """
        signal.signal(signal.SIGTERM, self.stop)
        try:
            while self._look():
                started_ns, worked_ns = time.monotonic_ns(), time.thread_time_ns()
                self._deliver(self._pipeline.turn())
                self._tally.turned(
                    time.monotonic_ns() - started_ns, time.thread_time_ns() - worked_ns
                )
                self._tidy()
                if self._test_due():
                    self.test_itself()
                self._listen()
        finally:
            try:
                self._empty()
            finally:
                self._source.close()
        if self._retiring:
            messages.send(self._channel, messages.Retired())
        elif not self._stopping:
            log("camera_ended", frames=self._tally.frames)
            messages.send(self._channel, messages.SourceEnded(self._tally.frames))

    def test_itself(self) -> None:
        """Look for traces of a drawn visitor; nobody may be in view.

        Raises:
            PrivacyError: there are some or it cannot be done, and `[privacy] strict` is set.
        """
        self._test_asked = False
        self._tested_at = time.monotonic()
        strict = self._pipeline.settings.privacy.strict
        outcome = selftest.run(self._pipeline, self._source)
        if outcome is None:
            log("selftest_impossible")
            if strict:
                raise PrivacyError(
                    "the self-test has no search library",
                    remedy="install a C compiler and run `make native`",
                )
            return
        passed, hits, controls = outcome.passed, outcome.hits, outcome.found
        log("selftest", passed=passed, hits=hits, controls=controls, took_ms=outcome.took_ms)
        messages.send(self._channel, messages.SelfTested(passed, hits, controls, outcome.took_ms))
        if not passed and strict:
            raise PrivacyError(
                f"the self-test found {hits} traces after a wipe, and saw {controls} of "
                f"{outcome.wanted} buffers before it",
                remedy="take the sensor out of service and send it in; it counts nobody meanwhile",
            )

    def _test_due(self) -> bool:
        now = time.monotonic()
        if self._pipeline.tracks:
            self._busy_at = now
            return False
        every_s = self._pipeline.settings.privacy.selftest_every_s
        due = 0 < every_s <= now - self._tested_at and now - self._busy_at >= QUIET_S
        return due or self._test_asked

    def _look(self) -> bool:
        """Fill the pipeline's frame; False when the clip has ended or it is time to stop."""
        while not self._stopping:
            if self._paused:
                self._rest()
                continue
            try:
                more = self._source.read(self._pipeline.frame)
            except CameraError:
                if not self._source.live:
                    raise
                self._recover()
                continue
            self._attempts = 0
            return more
        return False

    def _deliver(self, interactions: Iterable[Interaction]) -> None:
        for interaction in interactions:
            number = self._next_number()
            envelope = seal(
                interaction, number=number, device=self._device, recipient=self._recipient
            )
            messages.send(self._channel, messages.Sealed(number, envelope))
            self._tally.interactions += 1

    def _tidy(self) -> None:
        """Wipe what was of visitors who have just left, and all as soon as nobody is in view."""
        if self._pipeline.tracks:
            self._dirty = True
            if self._pipeline.parted:
                wiping.of_leavers(self._pipeline.engines)
        elif self._dirty:
            self._wipe()

    def _wipe(self) -> None:
        started_ns = time.monotonic_ns()
        wiping.everything(self._pipeline.engines, self._source)
        self._dirty = False
        self._tally.wiped(time.monotonic_ns() - started_ns)

    def _empty(self) -> None:
        """End and seal what is open, then wipe."""
        try:
            self._deliver(self._pipeline.finish(time.monotonic_ns() if self._source.live else 0))
        finally:
            self._wipe()

    def _rest(self) -> None:
        """Camera off until the supervisor says resume."""
        self._empty()
        if self._source.live:
            self._source.close()
        while self._paused and not self._stopping:
            self._listen(HEALTH_S)
        if self._source.live:
            self._reopen()

    def _recover(self) -> None:
        """The camera is lost: what is open ends when it does not come back in time."""
        self._source.close()
        if self._attempts == 0:
            self._tally.camera_losses += 1
        self._reopen()

    def _reopen(self) -> None:
        """Open the camera: at once, then after longer and longer pauses."""
        while not (self._stopping or self._paused):
            if self._attempts == 0:
                self._lost_at = time.monotonic()
            else:
                pause_s = min(FIRST_PAUSE_S * 2 ** (self._attempts - 1), LONGEST_PAUSE_S)
                log("camera_lost", attempt=self._attempts, retry_in_ms=round(pause_s * 1000))
                self._listen(pause_s)
            max_lost_s = self._pipeline.settings.tracking.max_lost_s
            if self._pipeline.tracks and time.monotonic() - self._lost_at > max_lost_s:
                self._empty()
            self._attempts += 1
            try:
                self._source = self._open_source()
                return
            except CameraError:
                continue

    # ---- the supervisor ------------------------------------------------------------------------

    def _listen(self, for_s: float = 0.0) -> None:
        """Do what the supervisor says, now and for so many seconds; report when it is due."""
        until = time.monotonic() + for_s
        if self._retiring and not self._pipeline.tracks:
            self.stop()
        while not self._stopping:
            if self._tally.due(HEALTH_S):
                health = self._tally.report(len(self._pipeline.tracks))
                messages.send(self._channel, health)
                deadline.extend(deadline.VISION_S)
            wait_s = min(max(0.0, until - time.monotonic()), HEALTH_S)
            if self._poll.poll(wait_s * 1000):
                paused = self._paused
                self._obey(messages.receive(self._channel))
                if self._paused != paused:
                    return
            elif time.monotonic() >= until:
                return

    def _obey(self, message: messages.AnyMessage | None) -> None:
        match message:
            case messages.NumberLease(first, count):
                # A lease that does not go on where the last one ends replaces it.
                if self._numbers and self._numbers[-1] + 1 != first:
                    self._numbers.clear()
                self._numbers.extend(range(first, first + count))
            case messages.Recipient(public_key):
                try:
                    self._recipient = self._rotate(public_key)
                except SealError:  # whoever sent it, the key that we have is good
                    log("recipient_refused")
            case messages.Pause():
                self._paused = True
            case messages.Resume():
                self._paused = False
            case messages.Retire():
                self._retiring = True
            case messages.SelfTest():
                self._test_asked = True
            case messages.Patch(patch):
                self._pipeline.settings = settings.patched(self._pipeline.settings, patch)
            case messages.Stop():
                self.stop()
            case None:
                raise ConnectionResetError("the supervisor is gone")
            case _:
                pass

    def _next_number(self) -> int:
        until = time.monotonic() + NUMBERS_S
        while not self._numbers:
            wait_s = until - time.monotonic()
            if wait_s <= 0 or not self._poll.poll(wait_s * 1000):
                raise SealError(
                    "no number was leased for an interaction",
                    remedy="check the identity partition: is it full or read-only?",
                )
            self._obey(messages.receive(self._channel))
        return self._numbers.popleft()
