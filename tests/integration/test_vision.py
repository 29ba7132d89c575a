"""The vision process itself: real models, real decoder, real sandbox, on a rendered visitor."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware import messages
from firmware.errors import CameraError, ConfigError, EngineError, SealError
from firmware.record import Expression, Gender
from firmware.vision import models
from hil.scenes.render import Scene
from hil.scenes.source import write_video
from tests import keys
from tests.integration.sight import SCRIPT, Vision


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "visitor.mp4"
    write_video(Scene(SCRIPT), path)
    return path


@pytest.fixture
def start(clip: Path) -> Iterator[Callable[..., Vision]]:
    begun: list[Vision] = []

    def begin(
        uri: Path | str = clip,
        *,
        recipient: bytes = keys.private_key().public_bytes(),
        realtime: bool = False,
        paused: bool = False,
        **sections: dict[str, Any],
    ) -> Vision:
        tree = {"source": {"uri": str(uri), "realtime": realtime}, **sections}
        begun.append(Vision(tree, recipient, paused=paused))
        return begun[-1]

    yield begin
    for vision in begun:
        vision.close()


def test_a_visitor_in_a_clip_becomes_a_record(start: Callable[..., Vision]) -> None:
    vision = start()
    assert vision.ended() == 0
    kinds = [type(message) for message in vision.heard]
    assert kinds[:2] == [messages.SelfTested, messages.VisionReady]
    assert kinds[-1] is messages.SourceEnded
    (record,) = vision.records
    assert 1800 <= record.dwell_ms <= 2200
    assert record.attention_ms > record.dwell_ms / 2
    assert record.gender.value is Gender.FEMALE
    assert record.expression.dominant is not Expression.UNKNOWN


def test_in_count_mode_only_the_detector_is_loaded(start: Callable[..., Vision]) -> None:
    vision = start(policy={"mode": "count"})
    assert vision.ended() == 0
    (record,) = vision.records
    assert record.gender.value is Gender.UNKNOWN
    detector = models.find_detector(models.directory(), width_px=448, frame_px=(640, 360))
    assert record.model_set == models.model_set([detector])


def test_where_expressions_are_forbidden_their_engine_is_not_loaded(
    start: Callable[..., Vision],
) -> None:
    vision = start(policy={"context": "workplace", "expression": False})
    assert vision.ended() == 0
    (record,) = vision.records
    assert record.gender.value is Gender.FEMALE and not record.expression.shares
    folder = models.directory()
    detector = models.find_detector(folder, width_px=448, frame_px=(640, 360))
    loaded = [detector, models.find(folder, "age"), models.find(folder, "gender")]
    assert record.model_set == models.model_set(loaded)


@pytest.mark.parametrize("how", ["message", "signal"])
def test_an_orderly_stop_seals_who_is_in_view(how: str, start: Callable[..., Vision]) -> None:
    """Played at its own pace: at the first health message the visitor is still there."""
    vision = start(realtime=True, privacy={"selftest_every_s": 0})
    vision.wait_for(messages.VisionHealth)
    if how == "message":
        vision.tell(messages.Stop())
    else:
        os.kill(vision.child.process.pid, signal.SIGTERM)
    assert vision.ended() == 0
    assert len(vision.records) == 1
    assert not any(isinstance(each, messages.SourceEnded) for each in vision.heard)


def test_an_interrupt_does_not_end_it(start: Callable[..., Vision]) -> None:
    vision = start()
    vision.wait_for(messages.VisionReady)
    os.kill(vision.child.process.pid, signal.SIGINT)
    assert vision.ended() == 0
    assert isinstance(vision.heard[-1], messages.SourceEnded)


def test_it_ends_when_the_supervisor_is_gone(start: Callable[..., Vision]) -> None:
    vision = start(realtime=True)
    vision.wait_for(messages.VisionReady)
    vision.child.channel.close()
    assert vision.child.process.wait(timeout=20) == 1


def test_nothing_but_events_is_written(
    start: Callable[..., Vision], capfd: pytest.CaptureFixture[str]
) -> None:
    start().ended()
    out, lines = capfd.readouterr()
    events = [msgspec.json.decode(line)["event"] for line in lines.splitlines()]
    assert events == ["camera_opened", "selftest", "vision_ready", "camera_ended"]
    assert not out


# ---- bad input ----------------------------------------------------------------------------------


def refused(vision: Vision, status: int, error: type[Exception]) -> str:
    """It says what is wrong, with a remedy, and ends with the error's status."""
    assert vision.ended() == status
    assert vision.failure.error == error.__name__
    assert vision.failure.remedy
    return vision.failure.problem


def test_a_missing_clip(start: Callable[..., Vision], tmp_path: Path) -> None:
    problem = refused(start(tmp_path / "gone.mp4"), 12, CameraError)
    assert "gone.mp4 does not exist" in problem


def test_a_clip_that_is_no_video(start: Callable[..., Vision], tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("a shopping list")
    assert "not a video" in refused(start(tmp_path / "notes.mp4"), 12, CameraError)


def test_a_truncated_clip(start: Callable[..., Vision], clip: Path, tmp_path: Path) -> None:
    """Its index is at its end, so nothing of it can be read."""
    content = clip.read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) // 2])
    assert "not a video" in refused(start(tmp_path / "half.mp4"), 12, CameraError)


def test_a_clip_that_breaks_off_gives_what_was_seen_and_an_error(
    start: Callable[..., Vision], tmp_path: Path
) -> None:
    path = tmp_path / "visitor.avi"
    write_video(Scene(SCRIPT), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    vision = start(path)
    assert "of 60 frames" in refused(vision, 12, CameraError)
    assert len(vision.records) == 1


def test_a_camera_that_is_not_there(start: Callable[..., Vision]) -> None:
    assert "/dev/video63" in refused(start("/dev/video63"), 12, CameraError)


def test_a_successor_is_ready_without_the_camera_and_looks_when_it_may(
    start: Callable[..., Vision],
) -> None:
    vision = start("/dev/video63", paused=True)
    vision.wait_for(messages.VisionReady)
    vision.tell(messages.Retire())  # not needed after all
    assert vision.ended() == 0


def test_a_source_without_a_driver(start: Callable[..., Vision]) -> None:
    assert "gopher://" in refused(start("gopher://camera"), 12, CameraError)


def test_an_unknown_setting(start: Callable[..., Vision]) -> None:
    assert "colour" in refused(start(detection={"colour": "blue"}), 10, ConfigError)


def test_a_recipient_key_that_is_none(start: Callable[..., Vision]) -> None:
    refused(start(recipient=b"no key"), 14, SealError)


def test_models_that_were_never_made(start: Callable[..., Vision], tmp_path: Path) -> None:
    problem = refused(start(models={"directory": str(tmp_path)}), 13, EngineError)
    assert "no converted models" in problem


def test_a_model_that_was_altered(start: Callable[..., Vision], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models.directory(), tmp_path / "models"))
    with (folder / "gender.onnx").open("r+b") as file:
        file.seek(-1000, 2)
        file.write(b"altered")
    problem = refused(start(models={"directory": str(folder)}), 13, EngineError)
    assert "gender.onnx was altered" in problem


def test_a_model_of_another_kind_of_file(start: Callable[..., Vision], tmp_path: Path) -> None:
    """Its digest is the index's, but no runtime can read it."""
    folder = Path(shutil.copytree(models.directory(), tmp_path / "models"))
    (folder / "gender.onnx").write_bytes(b"no network")
    index = models.index(folder)
    with (folder / "gender.onnx").open("rb") as file:
        sha256 = models.digest(file)
    changed = [
        msgspec.structs.replace(model, sha256=sha256) if model.name == "gender" else model
        for model in index.models
    ]
    content = msgspec.json.encode(msgspec.structs.replace(index, models=tuple(changed)))
    (folder / models.INDEX).write_bytes(content)
    problem = refused(start(models={"directory": str(folder)}), 13, EngineError)
    assert "ONNX Runtime refuses gender.onnx" in problem
