"""Clips as sources of frames, by the real decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware.drivers import video_file
from firmware.drivers.video_file import VideoFile
from firmware.errors import CameraError
from firmware.vision.frames import Frame
from tests.unit import clips
from tests.unit.sleeping import SleepingClock

PERIOD_NS = round(1e9 / clips.FRAMES_PER_S)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SleepingClock:
    clock = SleepingClock()
    monkeypatch.setattr(video_file, "time", clock)
    return clock


def frame() -> Frame:
    return Frame(np.zeros((clips.SIZE[1], clips.SIZE[0], 3), np.uint8))


def test_every_frame_is_read_in_place_with_the_clips_own_times(tmp_path: Path) -> None:
    source = VideoFile(clips.write(tmp_path / "clip.avi", 20), realtime=False)
    assert (source.width_px, source.height_px, source.frames_per_s) == (*clips.SIZE, 25)
    into, times = frame(), []
    pixels = into.pixels
    for index in range(20):
        assert source.read(into)
        assert into.pixels is pixels and into.index == index == clips.shown(pixels)
        times.append(into.captured_at_ns)
    assert not source.read(into)
    assert set(np.diff(times)) == {PERIOD_NS}
    source.close()
    source.close()


@pytest.mark.parametrize("name", ["clip.avi", "clip.mp4"])
def test_after_a_release_it_goes_on_with_the_next_frame(name: str, tmp_path: Path) -> None:
    source = VideoFile(clips.write(tmp_path / name, 25), realtime=False)
    into, seen = frame(), []
    for index in range(25):
        if index in (7, 8, 19):
            source.release()
        assert source.read(into)
        seen.append(clips.shown(into.pixels))
    assert seen == list(range(25))
    assert not source.read(into)


def test_in_real_time_each_frame_waits_until_it_is_due(
    tmp_path: Path, clock: SleepingClock
) -> None:
    source = VideoFile(clips.write(tmp_path / "clip.avi", 5), realtime=True)
    started_ns, into = clock.now_ns, frame()
    while source.read(into):
        assert clock.now_ns == into.captured_at_ns == started_ns + into.index * PERIOD_NS


def test_in_real_time_overdue_frames_are_skipped_as_a_camera_skips_them(
    tmp_path: Path, clock: SleepingClock
) -> None:
    source = VideoFile(clips.write(tmp_path / "clip.avi", 20), realtime=True)
    into = frame()
    source.read(into)
    clock.sleep(10.5 / clips.FRAMES_PER_S)  # the sensor was busy for so long
    source.read(into)
    assert into.index == clips.shown(into.pixels) == 10
    source.read(into)
    assert into.index == 11


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("gone.mp4", None, "does not exist"),
        ("empty.mp4", b"", "not a video"),
        ("notes.mp4", b"a shopping list\n" * 50, "not a video"),
        ("letter.txt", b"Dear Sir or Madam", "not a video"),
    ],
)
def test_what_is_no_video_is_a_camera_error(
    name: str, content: bytes | None, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CameraError, match=problem) as caught:
        VideoFile(path, realtime=False)
    assert caught.value.remedy and name in caught.value.problem


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="does not exist"):
        VideoFile(tmp_path, realtime=False)


def test_a_clip_without_its_index_is_no_video(tmp_path: Path) -> None:
    """The end of an .mp4, which a broken download lacks, says where its frames are."""
    path = clips.truncate(clips.write(tmp_path / "clip.mp4", 50), 0.8)
    with pytest.raises(CameraError, match="not a video"):
        VideoFile(path, realtime=False)


def test_a_truncated_clip_gives_its_frames_and_then_says_so(tmp_path: Path) -> None:
    path = clips.truncate(clips.write(tmp_path / "clip.avi", 50), 0.5)
    source, into, read = VideoFile(path, realtime=False), frame(), 0
    with pytest.raises(CameraError, match="of 50 frames"):
        while source.read(into):
            read += 1
    assert 10 < read < 40


def test_a_clip_exchanged_for_one_of_another_size_is_a_camera_error(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "clip.avi", 9)
    source, into = VideoFile(path, realtime=False), frame()
    source.read(into)
    source.release()
    clips.write(path, 9, size=(96, 64))
    with pytest.raises(CameraError, match="another frame size"):
        source.read(into)


def test_a_clip_that_is_taken_away_is_a_camera_error(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "clip.avi", 5)
    source, into = VideoFile(path, realtime=False), frame()
    source.read(into)
    source.release()
    path.unlink()
    with pytest.raises(CameraError, match="does not exist"):
        source.read(into)


def test_nothing_is_written_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Vendors' texts have no place in the log."""
    path = tmp_path / "notes.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + b"junk" * 100)
    with pytest.raises(CameraError):
        VideoFile(path, realtime=False)
    assert capfd.readouterr().err == ""
