"""The V4L2 driver, on a camera without hardware."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from firmware.drivers.v4l2_camera import V4L2Camera
from firmware.errors import CameraError
from firmware.settings import Source
from firmware.vision.frames import Frame
from tests.unit.camera import FakeCapture

ASKED = Source(uri="/dev/video0", width_px=64, height_px=64, frames_per_s=15)


def frame() -> Frame:
    return Frame(np.zeros((64, 64, 3), np.uint8))


def test_it_asks_for_the_mode_in_the_settings() -> None:
    capture = FakeCapture()
    camera = V4L2Camera(ASKED, capture)
    assert capture.asked[cv2.CAP_PROP_FRAME_WIDTH] == 64
    assert capture.asked[cv2.CAP_PROP_FRAME_HEIGHT] == 64
    assert capture.asked[cv2.CAP_PROP_FPS] == 15
    assert (camera.width_px, camera.height_px, camera.frames_per_s) == (64, 64, 15)


def test_frames_come_in_place_with_rising_times() -> None:
    camera, into = V4L2Camera(ASKED, FakeCapture()), frame()
    pixels, times = into.pixels, []
    for index in range(5):
        assert camera.read(into)
        assert into.pixels is pixels and into.index == index and (pixels == index).all()
        times.append(into.captured_at_ns)
    assert times == sorted(times) and times[0] > 0


def test_a_camera_that_is_not_there_is_a_camera_error() -> None:
    with pytest.raises(CameraError, match="/dev/video0 cannot be opened"):
        V4L2Camera(ASKED, FakeCapture(present=False))


def test_the_real_opencv_finds_no_such_device() -> None:
    asked = Source(uri="/dev/video63", width_px=64, height_px=64)
    with pytest.raises(CameraError, match="/dev/video63 cannot be opened"):
        V4L2Camera(asked)


def test_a_camera_that_gives_another_size_is_refused_and_closed() -> None:
    capture = FakeCapture(size=(640, 480))
    with pytest.raises(CameraError, match="640x480 frames, not 64x64"):
        V4L2Camera(ASKED, capture)
    assert capture.closed


def test_a_frame_of_another_size_on_the_way_is_a_camera_error() -> None:
    capture = FakeCapture()
    capture.grows_at = 2
    camera, into = V4L2Camera(ASKED, capture), frame()
    camera.read(into)
    camera.read(into)
    with pytest.raises(CameraError, match="another size or format"):
        camera.read(into)


def test_an_unplugged_camera_is_a_camera_error() -> None:
    camera, into = V4L2Camera(ASKED, FakeCapture(frames=3)), frame()
    for _ in range(3):
        camera.read(into)
    with pytest.raises(CameraError, match="no more frames"):
        camera.read(into)


def test_a_release_takes_every_frame_that_the_kernel_holds() -> None:
    capture = FakeCapture()
    camera, into = V4L2Camera(ASKED, capture), frame()
    camera.read(into)
    camera.release()
    held = int(capture.asked[cv2.CAP_PROP_BUFFERSIZE])
    assert capture.grabbed == 1 + held
    assert camera.read(into) and into.index == 1
