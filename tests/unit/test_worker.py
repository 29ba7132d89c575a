"""The loop of vision: real pipeline, real sealing, real channel; the camera follows a script."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from firmware import messages, settings
from firmware.envelope import split
from firmware.errors import CameraError, EngineError, SealError, SensorError
from firmware.key_statement import RecipientKey
from firmware.record import Interaction
from firmware.sealing import Recipient
from firmware.vision import memory, worker
from firmware.vision.frames import Closed, Frame
from firmware.vision.pipeline import BUFFERS, Pipeline
from firmware.vision.worker import Worker
from tests import keys
from tests.unit import networks

WIDTH, HEIGHT = 128, 96
FRAME_NS = 40_000_000
DEVICE = "device-1"
MINUTE_S = 1_700_000_040
"""Unix seconds at which a minute begins."""
RULES = {
    "interactions": {"minimum_dwell_s": 0.2},
    "tracking": {"max_lost_s": 0.4},
}

Shot = Iterable[tuple[int, int]] | CameraError | Callable[[], None]
"""What a camera gives next: faces at these cells, a failure, or something that happens first."""

SOMEBODY = ((12, 8),)
LOST = CameraError("camera gives no more frames", remedy="check its cable")


class Camera:
    """A camera without hardware: it plays a script, also over being closed and opened again."""

    width_px, height_px, frames_per_s = WIDTH, HEIGHT, 25.0

    def __init__(self, script: Iterable[Shot], *, live: bool) -> None:
        self.live = live
        self.opened = self.closed = self.released = 0
        self._script = iter(script)
        self._frames = 0

    def open(self) -> Camera:
        self.opened += 1
        return self

    def read(self, frame: Frame) -> bool:
        for shot in self._script:
            if isinstance(shot, CameraError):
                raise shot
            if callable(shot):
                shot()
                continue
            frame.pixels.fill(0)
            for column, row in shot:
                frame.pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 250
            self._frames += 1
            frame.captured_at_ns = time.monotonic_ns() if self.live else self._frames * FRAME_NS
            frame.index = self._frames - 1
            return True
        return False

    def release(self) -> None:
        self.released += 1

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A worker on one end of a channel and a supervisor's ear on the other.

    Attributes:
        heard: what the worker has said; complete after `run`.
    """

    def __init__(self, folder: Path) -> None:
        self.supervisor, self.vision = messages.pair()
        self.supervisor.settimeout(20)
        self.heard: list[messages.AnyMessage] = []
        self.wall_s = MINUTE_S + 30.0
        self.operator_pem = b""
        self.engines = {"detector": networks.bright_spots(folder, WIDTH, HEIGHT, face_px=32)}
        self.pipeline = Pipeline(
            settings.check(RULES),
            self.engines,
            model_set="0123abcd",
            frame_px=(WIDTH, HEIGHT),
            wall_s=lambda: self.wall_s,
        )
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._new = threading.Condition()

    def run(
        self,
        script: Iterable[Shot],
        *,
        live: bool = False,
        lease: int | None = 100,
        recipient: Recipient | None = None,
        paused: bool = False,
    ) -> Camera:
        """Run to the end of the script."""
        camera = Camera(script, live=live)
        if lease is not None:
            self.tell(messages.NumberLease(lease, 50))
        loop = Worker(
            self.vision,
            camera.open,
            self.pipeline,
            source=Closed(settings.Source()) if paused else camera,
            recipient=recipient or keys.recipient(),
            rotate=RecipientKey(self.operator_pem).take,
            device=DEVICE,
            paused=paused,
        )
        self._ear.start()
        try:
            loop.run()
        finally:
            self.vision.shutdown(socket.SHUT_WR)
            self._ear.join(timeout=20)
        return camera

    def tell(self, message: messages.AnyMessage) -> None:
        messages.send(self.supervisor, message)

    def telling(self, message: messages.AnyMessage) -> Callable[[], None]:
        return lambda: self.tell(message)

    def await_sealed(self, count: int) -> None:
        """Until the supervisor has so many records, at most 5 s."""
        with self._new:
            assert self._new.wait_for(lambda: len(self.sealed) >= count, timeout=5)

    @property
    def sealed(self) -> list[messages.Sealed]:
        return [message for message in self.heard if isinstance(message, messages.Sealed)]

    @property
    def numbers(self) -> list[int]:
        return [message.number for message in self.sealed]

    def opened(self, label: str = "recipient") -> list[Interaction]:
        """Every record, opened by the holder of the private key."""
        records = []
        for message in self.sealed:
            header, info, ciphertext = split(message.envelope)
            assert (header.number, header.device) == (message.number, DEVICE)
            text = keys.private_key(label).decrypt(ciphertext, info)
            records.append(msgspec.json.decode(text, type=Interaction))
        return records

    def _listen(self) -> None:
        while message := messages.receive(self.supervisor):
            with self._new:
                self.heard.append(message)
                self._new.notify_all()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(worker, "FIRST_PAUSE_S", 0.01)
    handler = signal.getsignal(signal.SIGTERM)
    bench = Bench(tmp_path)
    yield bench
    signal.signal(signal.SIGTERM, handler)
    bench.supervisor.close()
    bench.vision.close()
    bench.pipeline.close()
    for engine in bench.engines.values():
        engine.close()


def frames(count: int, *faces: tuple[int, int]) -> list[Shot]:
    return [faces] * count


def fail() -> None:
    raise EngineError("inference of detector failed", remedy="restart the sensor")


# ---- what is seen becomes sealed records --------------------------------------------------------


def test_each_visitor_becomes_one_sealed_record_in_order(bench: Bench) -> None:
    camera = bench.run(
        frames(15, *SOMEBODY) + frames(20) + frames(10, *SOMEBODY) + frames(20), lease=7
    )
    assert bench.numbers == [7, 8]
    assert [record.dwell_ms for record in bench.opened()] == [600, 400]
    assert all(record.model_set == "0123abcd" for record in bench.opened())
    assert bench.heard[-1] == messages.SourceEnded(65)
    assert camera.closed


def test_who_is_still_there_when_the_clip_ends_is_sealed(bench: Bench) -> None:
    bench.run(frames(15, *SOMEBODY))
    assert len(bench.sealed) == 1
    assert isinstance(bench.heard[-1], messages.SourceEnded)


def test_two_at_once_are_two_records(bench: Bench) -> None:
    bench.run(frames(15, (6, 8), (24, 14)))
    assert len(bench.sealed) == 2


def test_nobody_is_no_record(bench: Bench) -> None:
    bench.run(frames(20))
    assert not bench.sealed


def test_the_start_is_rounded_down_to_the_minute(bench: Bench) -> None:
    """By the time when the visitor came: 0.56 s before the last sighting."""
    bench.wall_s = MINUTE_S + 0.5
    bench.run(frames(15, *SOMEBODY))
    assert bench.opened()[0].start_utc_s == MINUTE_S - 60


def test_a_clock_that_jumps_an_hour_changes_no_dwell(bench: Bench) -> None:
    def jump() -> None:
        bench.wall_s += 3600

    bench.run([*frames(8, *SOMEBODY), jump, *frames(8, *SOMEBODY)])
    (record,) = bench.opened()
    assert record.dwell_ms == 600
    assert record.start_utc_s == MINUTE_S + 3600  # by the clock as it is known to be now


# ---- what the supervisor says -------------------------------------------------------------------


def test_stop_seals_what_is_open_and_ends(bench: Bench) -> None:
    script = [*frames(15, *SOMEBODY), bench.telling(messages.Stop()), *frames(1000, *SOMEBODY)]
    bench.run(script)
    assert len(bench.sealed) == 1 and bench.opened()[0].dwell_ms < 1000
    assert not any(isinstance(message, messages.SourceEnded) for message in bench.heard)


def test_a_termination_signal_is_an_orderly_stop(bench: Bench) -> None:
    def terminate() -> None:
        signal.raise_signal(signal.SIGTERM)

    bench.run([*frames(15, *SOMEBODY), terminate, *frames(1000, *SOMEBODY)])
    assert len(bench.sealed) == 1 and bench.opened()[0].dwell_ms < 1000


def test_it_retires_when_the_visitor_has_left_and_not_before(bench: Bench) -> None:
    retire = bench.telling(messages.Retire())
    camera = bench.run([*frames(8, *SOMEBODY), retire, *frames(8, *SOMEBODY), *frames(1000)])
    assert [record.dwell_ms for record in bench.opened()] == [600]
    assert camera.closed and bench.heard[-1] == messages.Retired()


def test_it_retires_at_once_when_nobody_is_in_view(bench: Bench) -> None:
    bench.run([*frames(3), bench.telling(messages.Retire()), *frames(10), *frames(10, *SOMEBODY)])
    assert not bench.sealed


def test_a_successor_opens_the_camera_when_it_may(bench: Bench) -> None:
    bench.tell(messages.SelfTest())  # heard while it rests
    bench.tell(messages.Resume())
    camera = bench.run(frames(15, *SOMEBODY), live=True, paused=True)
    assert camera.opened == 1


def test_a_successor_that_is_not_wanted_never_opens_the_camera(bench: Bench) -> None:
    bench.tell(messages.Stop())
    assert bench.run(frames(15), live=True, paused=True).opened == 0


def test_pause_seals_what_is_open_and_closes_the_camera_until_resume(bench: Bench) -> None:
    camera: list[Camera] = []

    def resume_later() -> None:
        bench.tell(messages.Pause())
        threading.Timer(0.3, bench.telling(messages.Resume())).start()

    def after() -> None:
        bench.await_sealed(1)

    began = time.monotonic()
    paced: list[Shot] = [lambda: time.sleep(0.04), SOMEBODY] * 8
    camera.append(bench.run([*paced, resume_later, SOMEBODY, after, *paced], live=True))
    assert len(bench.sealed) == 2
    assert camera[0].opened == 1 and camera[0].closed == 2
    assert time.monotonic() - began > 0.3


def test_a_patch_changes_the_rules(bench: Bench) -> None:
    patch = messages.Patch({"interactions": {"minimum_dwell_s": 30.0}})
    bench.run([*frames(5, *SOMEBODY), bench.telling(patch), *frames(20, *SOMEBODY)])
    assert not bench.sealed


def test_records_are_sealed_to_a_new_recipient_from_then_on(bench: Bench) -> None:
    other = keys.private_key("other").public_bytes()
    bench.tell(messages.Recipient(other))
    bench.run(frames(15, *SOMEBODY))
    assert len(bench.opened("other")) == 1


def test_a_recipient_that_the_operator_did_not_sign_is_refused_and_nothing_stops(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.operator_pem = keys.Signing("operator").public_pem
    bench.tell(messages.Recipient(keys.private_key("other").public_bytes()))
    bench.run(frames(15, *SOMEBODY))
    assert len(bench.opened("recipient")) == 1
    assert "recipient_refused" in capsys.readouterr().err


def test_an_interaction_waits_for_a_number(bench: Bench) -> None:
    threading.Timer(0.2, bench.telling(messages.NumberLease(40, 5))).start()
    bench.run(frames(15, *SOMEBODY), lease=None)
    assert bench.numbers == [40]


def test_without_a_number_vision_gives_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "NUMBERS_S", 0.05)
    with pytest.raises(SealError, match="no number"):
        bench.run(frames(15, *SOMEBODY), lease=None)


def test_a_lease_that_goes_on_is_used_after_the_first(bench: Bench) -> None:
    bench.tell(messages.NumberLease(100, 1))
    bench.tell(messages.NumberLease(101, 1))
    bench.run((frames(10, *SOMEBODY) + frames(15)) * 2, lease=None)
    assert bench.numbers == [100, 101]


def test_a_lease_elsewhere_replaces_the_one_before(bench: Bench) -> None:
    """The twin knew of higher numbers than the device: the lower ones must not be used again."""
    bench.tell(messages.NumberLease(1, 50))
    bench.tell(messages.NumberLease(500, 50))
    bench.run(frames(10, *SOMEBODY), lease=None)
    assert bench.numbers == [500]


def test_vision_ends_when_the_supervisor_is_gone(bench: Bench) -> None:
    def gone() -> None:
        bench.supervisor.shutdown(socket.SHUT_RDWR)

    with pytest.raises(ConnectionError):
        bench.run([*frames(3), gone, *frames(1000)])


# ---- a camera that is lost ----------------------------------------------------------------------


def test_a_short_loss_of_the_camera_does_not_cut_a_visit_in_two(bench: Bench) -> None:
    paced: list[Shot] = [lambda: time.sleep(0.04), SOMEBODY] * 8
    camera = bench.run([*paced, LOST, LOST, *paced], live=True)
    (record,) = bench.opened()
    assert record.dwell_ms >= 600
    assert camera.opened == 2


def test_a_long_loss_ends_what_was_open(bench: Bench) -> None:
    paced: list[Shot] = [lambda: time.sleep(0.04), SOMEBODY] * 8
    away: list[Shot] = [lambda: time.sleep(0.1), LOST] * 6

    def already_sealed() -> None:
        bench.await_sealed(1)

    bench.run([*paced, *away, already_sealed, *paced], live=True)
    assert len(bench.sealed) == 2


def test_one_loss_is_counted_once_however_often_it_is_tried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "HEALTH_S", 0.0)
    bench.run([*frames(3), LOST, LOST, LOST, *frames(3), LOST, *frames(3)], live=True)
    health = [each for each in bench.heard if isinstance(each, messages.VisionHealth)]
    assert health[-1].camera_losses == 2
    assert health[-1].frames == 9


def test_a_clip_that_breaks_off_is_an_error_after_what_was_seen_is_sealed(bench: Bench) -> None:
    with pytest.raises(CameraError):
        bench.run([*frames(15, *SOMEBODY), LOST, *frames(15)])
    assert len(bench.sealed) == 1


def test_an_engine_that_fails_is_an_error_after_what_was_seen_is_sealed(bench: Bench) -> None:
    with pytest.raises(EngineError):
        bench.run([*frames(15, *SOMEBODY), fail])
    assert len(bench.sealed) == 1


# ---- nothing stays ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [(), (fail,)], ids=["orderly", "by an error"])
def test_every_buffer_is_zero_at_the_end(end: tuple[Shot, ...], bench: Bench) -> None:
    try:
        camera = bench.run([*frames(15, *SOMEBODY), *end])
        assert camera.released == 1
    except SensorError:
        assert end
    for owner in (*BUFFERS, "detector_engine"):
        for name, buffer in memory.buffers(owner):
            assert not np.any(buffer), name


def test_everything_is_wiped_once_nobody_is_in_view(bench: Bench) -> None:
    dirty: list[str] = []

    def look() -> None:
        dirty.extend(
            name for owner in BUFFERS for name, buffer in memory.buffers(owner) if np.any(buffer)
        )

    camera = bench.run([*frames(10, *SOMEBODY), *frames(12), look, *frames(10)])
    assert not dirty
    assert camera.released == 2  # when the scene became empty, and at the end


def test_nothing_of_a_leaver_stays_while_another_is_in_view(bench: Bench) -> None:
    rows: dict[str, int] = {}

    def look() -> None:
        held = dict(memory.buffers())
        for name in ("tracker.boxes", "tracker.place", "interactions.counts"):
            rows[name] = sum(bool(row.any()) for row in held[name])

    both, one = frames(15, (6, 8), (24, 14)), frames(15, (24, 14))
    bench.run([*both, look, *one, look])
    assert len(bench.sealed) == 2
    assert set(rows.values()) == {1}


def test_an_empty_scene_is_wiped_once_not_in_every_turn(bench: Bench) -> None:
    camera = bench.run([*frames(5, *SOMEBODY), *frames(100)])
    assert camera.released == 2
