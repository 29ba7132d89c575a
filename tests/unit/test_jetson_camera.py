"""The Jetson driver, on a camera and a GPU without hardware."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from firmware.errors import CameraError, EngineError
from firmware.settings import Source
from firmware.vision.frames import Frame
from tests.integration import gpu_bench
from tests.integration.gpu_bench import Gpu, gpu

# What follows asks for CUDA's driver when it is imported.
from firmware.drivers.jetson_camera import JetsonCamera  # isort: skip
from tests.fake_hardware.jetson_utils import videoSource  # isort: skip

__all__ = ["gpu"]
ASKED = Source(uri="csi://0", width_px=64, height_px=64, frames_per_s=15)


class Rig:
    """Opens cameras of one make, and knows the last one's source."""

    def __init__(self, **kind: Any) -> None:
        self.kind: Any = type("Source", (videoSource,), kind)
        self.source: Any = None

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.source = self.kind(*given, **named)
        return self.source

    def open(self, asked: Source = ASKED) -> JetsonCamera:
        return JetsonCamera(asked, self)


@pytest.fixture(autouse=True)
def on_a_gpu(gpu: Gpu) -> Iterator[None]:
    yield


def frame() -> Frame:
    return Frame(np.zeros((64, 64, 3), np.uint8))


def content(into: Frame, size: int) -> bytes:
    assert into.image
    return ctypes.string_at(into.image.address, size)


def test_it_asks_for_the_mode_in_the_settings_and_for_silence() -> None:
    rig = Rig()
    camera = rig.open()
    assert rig.source.uri == "csi://0"
    assert rig.source.options["width"] == rig.source.options["height"] == 64
    assert rig.source.options["framerate"] == 15
    assert "--log-level=silent" in rig.source.argv
    assert (camera.width_px, camera.height_px, camera.frames_per_s) == (64, 64, 15)
    assert camera.live


@pytest.mark.parametrize(
    ("uri", "raw", "layout", "size"),
    [
        pytest.param("csi://0", "nv12", "nv12", 6144, id="the image sensor's own"),
        pytest.param("csi://0", "rgb8", "rgb8", 12288, id="RGB as it comes"),
        pytest.param("csi://0", "yuyv", "rgb8", 12288, id="what no kernel reads is converted"),
        pytest.param("v4l2:///dev/video0", "nv12", "rgb8", 12288, id="a ring that others write"),
        pytest.param("rtsp://camera", "nv12", "rgb8", 12288, id="from the network"),
    ],
)
def test_a_frame_stays_on_the_gpu(uri: str, raw: str, layout: str, size: int) -> None:
    camera, into = Rig(raw_format=raw).open(Source(uri=uri, width_px=64, height_px=64)), frame()
    assert camera.read(into)
    assert into.image and (into.image.layout, into.image.width_px) == (layout, 64)
    assert set(content(into, size)) == {2 if raw == "yuyv" else 1}
    assert not into.pixels.any()


def test_frames_come_with_rising_times_and_each_is_cleared_before_the_next() -> None:
    camera, into = Rig().open(), frame()
    last, times = 0, []
    for index in range(6):
        assert camera.read(into)
        assert into.index == index
        assert set(content(into, 6144)) == {index + 1}
        if index:
            assert not any(ctypes.string_at(last, 6144))
        assert into.image
        last = into.image.address
        times.append(into.captured_at_ns)
    assert times == sorted(times) and times[0] > 0


def test_a_camera_that_is_not_there_is_a_camera_error() -> None:
    with pytest.raises(CameraError, match="csi://0 cannot be opened") as caught:
        Rig(present=False).open()
    assert "nvargus" in caught.value.remedy


def test_a_camera_that_gives_another_size_is_refused_and_closed() -> None:
    rig = Rig(size_px=(128, 64))
    with pytest.raises(CameraError, match="128x64 frames, not 64x64"):
        rig.open()
    assert rig.source.closed and not any(rig.source.ring[0].content())


def test_a_camera_that_is_silent_from_the_start_is_refused_and_closed() -> None:
    rig = Rig(frames=0)
    with pytest.raises(CameraError, match="no more frames"):
        rig.open()
    assert rig.source.closed


@pytest.mark.parametrize("how", ["silent", "unplugged"])
def test_a_lost_camera_is_a_camera_error_and_can_be_opened_again(how: str) -> None:
    rig = Rig(frames=3)
    camera, into = rig.open(), frame()
    for _ in range(3):
        camera.read(into)
    rig.source.silent = how == "silent"
    with pytest.raises(CameraError, match="no more frames"):
        camera.read(into)
    assert into.image is None
    assert not any(any(image.content()) for image in rig.source.ring[:3])
    camera.close()
    rig.kind.frames = 10
    assert rig.open().read(into)


def test_a_frame_of_another_size_on_the_way_is_a_camera_error() -> None:
    rig = Rig()
    camera, into = rig.open(), frame()
    camera.read(into)
    rig.source.size_px = (32, 32)
    with pytest.raises(CameraError, match="another size or format"):
        camera.read(into)


def test_a_release_clears_every_frame_that_the_vendor_holds() -> None:
    rig = Rig()
    camera, into = rig.open(), frame()
    for _ in range(7):
        camera.read(into)
    before = rig.source.captured
    camera.release()
    # As many as it holds, so that none of those it has not yet given is an old one.
    assert rig.source.captured - before == len(rig.source.ring) == 4
    assert not any(any(image.content()) for image in rig.source.ring)
    assert camera.read(into) and into.index == 7


def test_a_clip_has_its_own_size_times_and_end() -> None:
    rig = Rig(size_px=(96, 64), frames=3, frame_rate=25)
    camera, into = rig.open(Source(uri="file:///clip.mp4")), frame()
    assert not camera.live and (camera.width_px, camera.height_px) == (96, 64)
    assert camera.frames_per_s == 25
    times = []
    while camera.read(into):
        times.append(into.captured_at_ns)
        camera.release()
    assert np.diff(times).tolist() == [40_000_000] * 2
    assert into.image is None


def test_a_gpu_that_fails_while_clearing_is_an_engine_error() -> None:
    camera, into = Rig().open(), frame()
    camera.read(into)
    gpu_bench.fail_after(0)
    with pytest.raises(EngineError, match="clearing a frame failed"):
        camera.read(into)
