"""kernels.cu against numpy and OpenCV: the same source, compiled for this processor."""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from firmware.vision.crops import View, cut_of
from firmware.vision.frames import Layout
from hil.accuracy.labelled import read
from hil.gpu import reference
from tests.integration.gpu_bench import Gpu, gpu
from tests.unit.test_crops import face
from trt_engines.acquire import portrait

__all__ = ["gpu"]
LAYOUTS = get_args(Layout)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def picture(layout: Layout, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    random = np.random.default_rng(3)
    shape = (height * 3 // 2, width) if layout == "nv12" else (height, width, 3)
    return random.integers(0, 256, shape).astype(np.uint8)


def sample(
    gpu: Gpu,
    given: NDArray[np.uint8],
    layout: Layout,
    *,
    region: tuple[int, int, int, int, int],
    affine: tuple[float, ...] = IDENTITY,
    mirrored: bool = False,
    target: tuple[int, int] = (64, 48),
    covered: tuple[int, int] = (64, 48),
) -> NDArray[np.float32]:
    """Run the kernel; returns the input, f32 (3, rows, columns), which held -1 everywhere."""
    import pycuda.driver as cuda

    height = given.shape[0] * 2 // 3 if layout == "nv12" else given.shape[0]
    there = gpu.allocate("test.picture", given.shape, np.uint8)
    into = gpu.allocate("test.input", (3, target[1], target[0]), np.float32)
    cuda.memcpy_htod(there.address, given)
    cuda.memcpy_htod(into.address, np.full(into.shape, -1, np.float32))
    stream = cuda.Stream()
    gpu.launch(
        "sample",
        *covered,
        stream,
        there.address,
        LAYOUTS.index(layout),
        given.shape[1],
        height,
        *region,
        *affine,
        int(mirrored),
        into.address,
        target[0] * target[1],
        target[0],
        *covered,
    )
    stream.synchronize()
    values: NDArray[np.float32] = into.read()
    return values


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("region", "affine"),
    [
        pytest.param((0, 0, 96, 64, 0), IDENTITY, id="as it is"),
        pytest.param((0, 0, 96, 64, 0), (0.7, -0.3, 5.2, 0.3, 0.7, -4.5), id="turned, over edges"),
        pytest.param((8, 4, 40, 28, 1), (0.6, 0.1, -3.0, -0.1, 0.6, 2.0), id="region, halved once"),
        pytest.param((0, 8, 12, 7, 3), (0.3, 0.0, 0.1, 0.0, 0.2, 0.1), id="halved three times"),
    ],
)
def test_sampling_is_what_numpy_says(
    gpu: Gpu,
    layout: Layout,
    region: tuple[int, int, int, int, int],
    affine: tuple[float, ...],
) -> None:
    given = picture(layout)
    values = sample(gpu, given, layout, region=region, affine=affine)
    expected = reference.sampled(
        reference.halved(reference.colours(given, layout), region), affine, 64, 48
    )
    np.testing.assert_allclose(values, expected, atol=0.02)


def test_a_mirrored_chip_and_what_is_not_covered(gpu: Gpu) -> None:
    given = picture("rgb8")
    region, covered = (0, 0, 96, 64, 0), (40, 30)
    values = sample(gpu, given, "rgb8", region=region, covered=covered, mirrored=True)
    expected = reference.sampled(reference.colours(given, "rgb8"), IDENTITY, *covered)
    np.testing.assert_allclose(values[:, :30, :40], expected[:, :, ::-1], atol=0.02)
    assert (values[:, 30:] == -1).all() and (values[:, :, 40:] == -1).all()


def test_the_reference_sees_nv12_as_opencv_does() -> None:
    given = picture("nv12").clip(16, 235)  # what is outside is not luma, and OpenCV cuts it off
    ours = reference.colours(given, "nv12")
    theirs = cv2.cvtColor(given, cv2.COLOR_YUV2RGB_NV12)
    assert np.abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("side", [32, 64])
def test_contrast_is_what_numpy_and_opencv_say(gpu: Gpu, side: int) -> None:
    import pycuda.driver as cuda

    plane = cv2.resize(read(portrait("astronaut"))[:, :, 1], (side, side)).astype(np.float32)
    there = gpu.allocate("test.plane", plane.shape, np.float32)
    sums = gpu.allocate("test.sums", (side, 4), np.float32)
    cuda.memcpy_htod(there.address, plane)
    stream = cuda.Stream()
    gpu.launch("contrast", side, 1, stream, there.address, side, sums.address)
    stream.synchronize()
    value, square, detail, detail_square = sums.read().astype(float).sum(axis=0) / side**2
    ours = np.sqrt([detail_square - detail**2, square - value**2])
    np.testing.assert_allclose(ours, reference.contrast(plane), rtol=1e-3)
    theirs = cv2.Laplacian(plane, cv2.CV_32F).std(), plane.std()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


@pytest.mark.parametrize("size_px", [14, 24, 60, 150])
def test_regions_of_regions_are_one_grid_over_the_frame(size_px: int) -> None:
    """The host halves a region of the halved region; a kernel takes blocks of the frame."""
    random = np.random.default_rng(5)
    frame = random.integers(0, 256, (720, 1280, 3)).astype(float)
    cut = cut_of(face(size_px, 20, (600, 300)), 32, View(), 1280, 720)
    step = frame
    for left, top, columns, rows in cut.halvings:
        step = reference.halved(step, (left, top, columns, rows, 1))
    left = sum(region.left << level for level, region in enumerate(cut.halvings))
    top = sum(region.top << level for level, region in enumerate(cut.halvings))
    rows, columns = step.shape[:2]
    at_once = reference.halved(frame, (left, top, columns, rows, len(cut.halvings)))
    np.testing.assert_allclose(at_once, step, atol=1e-9)
    assert len(cut.halvings) == {14: 0, 24: 0, 60: 2, 150: 3}[size_px]
