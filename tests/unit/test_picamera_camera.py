"""The Raspberry Pi driver, on a camera without hardware."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from firmware.errors import CameraError
from firmware.settings import Source
from firmware.vision.frames import Frame
from tests import fake_hardware

fake_hardware.install()
from firmware.drivers.picamera_camera import PicameraCamera  # noqa: E402
from tests.fake_hardware.picamera2 import Picamera2  # noqa: E402

ASKED = Source(uri="picamera://1", width_px=64, height_px=64, frames_per_s=15)


class Rig:
    """Opens cameras of one make, and knows the last one."""

    def __init__(self, **kind: Any) -> None:
        self.kind = type("Camera", (Picamera2,), kind)
        self.camera: Any = None

    def __call__(self, number: int) -> Any:
        self.camera = self.kind(number)
        return self.camera

    def open(self, asked: Source = ASKED) -> PicameraCamera:
        return PicameraCamera(asked, self)


def frame() -> Frame:
    return Frame(np.zeros((64, 64, 3), np.uint8))


def test_it_asks_for_the_mode_in_the_settings() -> None:
    rig = Rig()
    camera = rig.open()
    assert rig.camera.number == 1 and rig.camera.running
    asked = rig.camera.configuration
    assert asked["main"] == {"format": "RGB888", "size": (64, 64)}
    assert asked["controls"] == {"FrameRate": 15} and not asked["queue"]
    assert (camera.width_px, camera.height_px, camera.frames_per_s) == (64, 64, 15)


@pytest.mark.parametrize("uri", ["picamera://", "picamera://0"])
def test_without_a_number_it_is_the_first_one(uri: str) -> None:
    rig = Rig()
    rig.open(Source(uri=uri, width_px=64, height_px=64))
    assert rig.camera.number == 0


def test_frames_come_in_place_and_go_back_cleared() -> None:
    rig = Rig()
    camera, into = rig.open(), frame()
    pixels, times = into.pixels, []
    for index in range(6):
        assert camera.read(into)
        assert into.pixels is pixels and into.index == index and (pixels == index + 1).all()
        times.append(into.captured_at_ns)
    assert times == sorted(times) and times[0] > 0
    assert rig.camera.returned == [False] * 6


def test_a_camera_that_is_not_there_is_a_camera_error() -> None:
    with pytest.raises(CameraError, match="picamera://1 cannot be opened"):
        Rig(present=False).open()


def test_a_uri_without_a_number_of_a_camera_is_refused() -> None:
    with pytest.raises(CameraError, match="names no camera"):
        Rig().open(Source(uri="picamera://front"))


def test_a_camera_that_gives_another_size_is_refused_and_closed() -> None:
    rig = Rig(size_px=(128, 64))
    with pytest.raises(CameraError, match="gives 128x64 frames, not 64x64"):
        rig.open()
    assert rig.camera.closed


def test_a_camera_that_cannot_be_started_is_refused_and_closed() -> None:
    def start(self: Picamera2) -> None:
        raise RuntimeError("Failed to start camera")

    rig = Rig(start=start)
    with pytest.raises(CameraError, match="cannot give such frames"):
        rig.open()
    assert rig.camera.closed


def test_a_frame_of_another_size_on_the_way_is_a_camera_error_and_goes_back_cleared() -> None:
    rig = Rig()
    camera, into = rig.open(), frame()
    rig.camera.buffers = [np.zeros((32, 32, 3), np.uint8)]
    with pytest.raises(CameraError, match="another size or format"):
        camera.read(into)
    assert rig.camera.returned == [False]


def test_a_silent_camera_is_a_camera_error() -> None:
    rig = Rig()
    camera, into = rig.open(), frame()
    camera.read(into)
    rig.camera.left = 0
    with pytest.raises(CameraError, match="no more frames"):
        camera.read(into)


def test_a_release_takes_every_frame_that_the_camera_system_holds() -> None:
    rig = Rig()
    camera, into = rig.open(), frame()
    camera.read(into)
    camera.release()
    held = rig.camera.configuration["buffer_count"]
    assert rig.camera.taken == 1 + held and rig.camera.returned == [False] * (1 + held)
    assert camera.read(into) and into.index == 1


def test_a_release_of_a_lost_camera_leaves_it_to_the_next_read() -> None:
    rig = Rig()
    camera = rig.open()
    rig.camera.left = 0
    camera.release()
    with pytest.raises(CameraError):
        camera.read(frame())


def test_closing_is_the_vendors() -> None:
    rig = Rig()
    rig.open().close()
    assert rig.camera.closed == 1
