"""The whole of vision on a GPU made of ordinary memory, beside the same on the processor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from firmware import engine_file, launcher, messages
from firmware.drivers import onnx_engine
from firmware.drivers.video_file import VideoFile
from firmware.envelope import split
from firmware.errors import EngineError
from firmware.record import Interaction
from firmware.settings import Attributes as Rules
from firmware.settings import Settings
from firmware.vision import memory, models, wiping
from firmware.vision.attributes import VIEWS
from firmware.vision.crops import View
from firmware.vision.frames import Frame, GpuImage
from firmware.vision.pipeline import BUFFERS, Pipeline
from firmware.vision.sampling import HostSampler
from hil.accuracy.labelled import read
from hil.scenes.render import Scene
from hil.scenes.script import Camera, Script, Visitor
from hil.scenes.source import write_video
from tests import fake_hardware, keys
from tests.integration import gpu_bench
from tests.integration.gpu_bench import Gpu, GpuSampler, built, gpu, load
from tests.unit.test_crops import face
from trt_engines.acquire import portrait

__all__ = ["built", "gpu"]
SIZE_PX = (640, 360)
SCRIPT = Script(
    title="Two visitors",
    seconds=2.4,
    interactions=2,
    camera=Camera(width_px=SIZE_PX[0], height_px=SIZE_PX[1]),
    visitor=(
        Visitor(portrait="astronaut", path=((0.2, -0.5, 1.6), (1.9, -0.2, 1.2))),
        Visitor(portrait="obama", path=((0.2, 0.5, 1.4), (2.2, 0.5, 1.3))),
    ),
)
WALL_S = 1_800_000_000.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "visitors.mp4"
    write_video(Scene(SCRIPT), path)
    return path


class OnGpu:
    """Engines, sampler and pipeline on the GPU, for frames of one size."""

    def __init__(self, gpu: Gpu, built: Path, size_px: tuple[int, int] = SIZE_PX) -> None:
        variant = engine_file.variant(built)
        self.engines = load(gpu, variant, *models.chosen(variant, Settings(), size_px))
        self.sampler = GpuSampler(gpu, *size_px)
        settings = Settings(attributes=Rules(faces_per_frame=2))
        self.pipeline = Pipeline(
            settings,
            self.engines,
            model_set="0123abcd",
            frame_px=size_px,
            wall_s=lambda: WALL_S,
            sampler=self.sampler,
        )

    def play(self, clip: Path, frames: int = 1 << 30) -> list[Interaction]:
        return played(self.pipeline, clip, frames)

    def close(self) -> None:
        gpu_bench.heal()
        self.pipeline.close()
        for engine in self.engines.values():
            engine.close()


def played(pipeline: Pipeline, clip: Path, frames: int = 1 << 30) -> list[Interaction]:
    source, ended = VideoFile(clip, realtime=False), []
    while frames and source.read(pipeline.frame):
        ended += pipeline.turn()
        frames -= 1
    source.close()
    return ended


@pytest.fixture
def on_gpu(gpu: Gpu, built: Path) -> Iterator[OnGpu]:
    made = OnGpu(gpu, built)
    yield made
    made.close()


def test_the_gpu_sees_the_same_visitors_as_the_processor(on_gpu: OnGpu, clip: Path) -> None:
    """The same votes for gender and expression, the same dwell; ages within half a year."""
    ours = on_gpu.play(clip) + on_gpu.pipeline.finish()
    on_gpu.close()
    folder = models.directory()
    engines = onnx_engine.load(folder, *models.chosen(folder, Settings(), SIZE_PX))
    peer = Pipeline(
        Settings(attributes=Rules(faces_per_frame=2)),
        engines,
        model_set="0123abcd",
        frame_px=SIZE_PX,
        wall_s=lambda: WALL_S,
    )
    theirs = played(peer, clip) + peer.finish()
    peer.close()
    for engine in engines.values():
        engine.close()
    assert len(ours) == len(theirs) == 2
    for mine, other in zip(ours, theirs, strict=True):
        assert abs(mine.dwell_ms - other.dwell_ms) <= 40
        assert mine.gender == other.gender
        assert mine.age.category == other.age.category
        assert mine.expression.dominant == other.expression.dominant
        for expression, share in mine.expression.shares.items():
            assert abs(share - other.expression.shares.get(expression, 0)) <= 5


def picture(size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """A portrait that fills the frame, BGR."""
    import cv2

    return np.asarray(cv2.resize(read(portrait("astronaut")), size_px), np.uint8)


@pytest.mark.parametrize("size_px", [(640, 360), (1280, 720), (1920, 1080), (360, 640)])
def test_a_letterbox_is_the_processors_within_rounding(
    gpu: Gpu, built: Path, size_px: tuple[int, int]
) -> None:
    made, frame = OnGpu(gpu, built, size_px), Frame(picture(size_px))
    detector = made.engines["detector"]
    made.sampler.letterbox(frame, detector)
    detector.stream.synchronize()
    ours = detector.input.read()
    made.close()
    folder = models.directory()
    wanted = models.find_detector(folder, width_px=448, frame_px=size_px)
    (peer,) = onnx_engine.load(folder, wanted).values()
    HostSampler({"detector": peer}, *size_px).letterbox(frame, peer)
    difference = np.abs(ours - peer.input)
    peer.close()
    memory.release("detector")
    assert peer.input.shape == ours.shape
    assert difference.max() <= 3 and difference.mean() < 0.5


@pytest.mark.parametrize("view", VIEWS["gender"])
@pytest.mark.parametrize(("size_px", "tilt"), [(20, 0), (45, 25), (120, -10)])
def test_a_chip_is_the_processors_within_its_rounding(
    gpu: Gpu, built: Path, size_px: int, tilt: int, view: View
) -> None:
    """OpenCV rounds places to 1/32 of a pixel and every halving to whole values."""
    made, frame = OnGpu(gpu, built, (1280, 720)), Frame(picture((1280, 720)))
    landmarks, engine = face(size_px, tilt, (640, 330)), made.engines["gender"]
    made.sampler.letterbox(frame, made.engines["detector"])
    made.sampler.cut(frame, landmarks, engine, 2, view)
    contrast = made.sampler.contrast()
    ours = engine.input.read()
    made.close()
    folder = models.directory()
    (peer,) = onnx_engine.load(folder, models.find(folder, "gender")).values()
    host = HostSampler({"gender": peer}, 1280, 720)
    host.cut(frame, landmarks, peer, 0, view)
    difference = np.abs(ours[2] - peer.input[0])
    assert difference.mean() < 1 and difference.max() < 16
    assert contrast == pytest.approx(host.contrast(), rel=0.06, abs=0.6)
    assert not ours[[0, 1, 3]].any()
    peer.close()
    memory.release("chips")


def answers(on_gpu: OnGpu, frame: Frame, landmarks: NDArray[np.float32]) -> list[float]:
    """Probability of female, and of each expression."""
    attributes = on_gpu.pipeline.attributes
    attributes.look(frame, [landmarks])
    return [
        float(attributes.answers["gender"][0, 0]),
        *attributes.answers["expression"][0].tolist(),
    ]


@pytest.mark.parametrize("layout", ["rgb8", "nv12"])
def test_a_picture_that_a_camera_left_on_the_gpu_is_read_where_it_is(
    gpu: Gpu, on_gpu: OnGpu, layout: str
) -> None:
    import cv2
    import pycuda.driver as cuda

    pixels = picture(SIZE_PX)
    given: Any = np.ascontiguousarray(pixels[:, :, ::-1])
    if layout == "nv12":  # from I420: the two chroma planes become one of pairs
        planes = cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420).reshape(-1)
        luma, chroma = np.split(planes, [SIZE_PX[0] * SIZE_PX[1]])
        given = np.concatenate([luma, chroma.reshape(2, -1).T.reshape(-1)])
    there = gpu.allocate("camera.image", given.shape, np.uint8)
    cuda.memcpy_htod(there.address, given)
    frame = Frame(np.zeros((SIZE_PX[1], SIZE_PX[0], 3), np.uint8))
    frame.image = GpuImage(there.address, layout, *SIZE_PX)  # type: ignore[arg-type]
    faces = on_gpu.pipeline.detector.detect(frame, 0.5, 0.3)
    assert len(faces) == 1
    landmarks = faces.landmarks[0].copy()
    ours = answers(on_gpu, frame, landmarks)
    assert not frame.pixels.any()
    assert not list(memory.adopted("frame"))  # nothing was brought there, and nothing back
    brought = Frame(pixels)
    faces = on_gpu.pipeline.detector.detect(brought, 0.5, 0.3)
    np.testing.assert_allclose(faces.landmarks[0], landmarks, atol=1)
    np.testing.assert_allclose(ours, answers(on_gpu, brought, landmarks), atol=0.03)


def test_a_camera_on_the_gpu_needs_engines_there(tmp_path: Path) -> None:
    frame = Frame(np.zeros((SIZE_PX[1], SIZE_PX[0], 3), np.uint8))
    frame.image = GpuImage(4096, "rgb8", *SIZE_PX)
    folder = models.directory()
    wanted = models.find_detector(folder, width_px=448, frame_px=SIZE_PX)
    (engine,) = onnx_engine.load(folder, wanted).values()
    with pytest.raises(EngineError, match="leaves its frames on the GPU") as caught:
        HostSampler({"detector": engine}, *SIZE_PX).letterbox(frame, engine)
    assert "tensorrt" in caught.value.remedy
    engine.close()
    memory.release("detector")


def test_all_faces_of_a_frame_go_through_an_engine_together(on_gpu: OnGpu, clip: Path) -> None:
    """Two faces are six views for the age network: a batch of four and one of two."""
    rows: list[int] = []
    engine = on_gpu.engines["age"]
    run = engine.run

    def counted(count: int = 0) -> None:
        rows.append(count)
        run(count)

    engine.run = counted  # type: ignore[assignment, method-assign]
    on_gpu.play(clip)
    assert (4, 2) in set(pairwise(rows))
    assert set(rows) <= {2, 3, 4}


# ---- the wipe -----------------------------------------------------------------------------------


class NoSource:
    live, width_px, height_px, frames_per_s = False, *SIZE_PX, 25.0

    def read(self, frame: Frame) -> bool:
        return False

    def release(self) -> None:
        pass

    close = release


def test_after_a_wipe_no_memory_of_the_gpu_holds_anything(on_gpu: OnGpu, clip: Path) -> None:
    on_gpu.play(clip, frames=40)
    held = dict(memory.adopted())
    assert {name.partition(".")[0] for name in held} >= {
        "frame",
        "chips",
        "detector_gpu_engine",
        "age_gpu_engine",
        "gender_gpu_engine",
        "expression_gpu_engine",
    }
    dirty = [name for name, buffer in held.items() if buffer.any()]
    assert len(dirty) == len(held)
    on_gpu.pipeline.finish()
    wiping.everything(on_gpu.engines, NoSource())
    assert not [name for name, buffer in held.items() if buffer.any()]


def test_when_somebody_leaves_only_the_detector_keeps_its_last_run(
    on_gpu: OnGpu, clip: Path
) -> None:
    on_gpu.play(clip, frames=40)
    wiping.of_leavers(on_gpu.engines)
    assert not [name for name, buffer in memory.adopted() if buffer.any()]


def test_a_failed_gpu_does_not_keep_the_rest_from_being_wiped(on_gpu: OnGpu, clip: Path) -> None:
    on_gpu.play(clip, frames=40)
    gpu_bench.fail_after(0)
    with pytest.raises(EngineError):
        wiping.everything(on_gpu.engines, NoSource())
    here = [(name, buffer) for owner in BUFFERS for name, buffer in memory.buffers(owner)]
    assert here and not [name for name, buffer in here if buffer.any()]
    pinned = [buffer for _, buffer in memory.adopted() if isinstance(buffer, np.ndarray)]
    assert pinned and not any(buffer.any() for buffer in pinned)


# ---- the vision process -------------------------------------------------------------------------


class Vision:
    """The real process, with its own sandbox, on hardware that is not there."""

    def __init__(self, place: Path, built: Path, clip: Path, **fails: int) -> None:
        packages = (
            place / "site-packages"
        )  # the one kind of folder besides its own that it may read
        packages.mkdir()
        for module in ("pycuda", "tensorrt"):
            shutil.copytree(fake_hardware.HERE / module, packages / module)
        library = fake_hardware.build()
        variables = launcher.environment("vision")
        variables["PYTHONPATH"] += f":{packages}"
        variables["LD_PRELOAD"] = f"{library}:{variables.get('LD_PRELOAD', '')}".strip(":")
        variables |= {f"FAKE_GPU_{name.upper()}": str(value) for name, value in fails.items()}
        self.child = launcher.start("vision", variables=variables)
        self.child.channel.settimeout(60)
        tree = {
            "source": {"uri": str(clip), "realtime": False},
            "models": {"directory": str(built), "runtime": "tensorrt"},
        }
        recipient = keys.private_key().public_bytes()
        for message in (
            messages.StartVision(tree, "device-1", recipient),
            messages.NumberLease(1, 100),
        ):
            messages.send(self.child.channel, message)
        self.heard: list[messages.AnyMessage] = []
        while (message := messages.receive(self.child.channel)) is not None:  # type: ignore[assignment]
            self.heard.append(message)
        self.status = self.child.process.wait(timeout=20)
        self.child.channel.close()

    @property
    def records(self) -> list[Interaction]:
        found = []
        for message in self.heard:
            if isinstance(message, messages.Sealed):
                _, info, ciphertext = split(message.envelope)
                text = keys.private_key().decrypt(ciphertext, info)
                found.append(msgspec.json.decode(text, type=Interaction))
        return found


def test_the_vision_process_runs_on_the_gpu(tmp_path: Path, built: Path, clip: Path) -> None:
    vision = Vision(tmp_path, built, clip)
    assert [each for each in vision.heard if isinstance(each, messages.Failed)] == []
    assert vision.status == 0
    assert len(vision.records) == 2
    assert all(record.gender.value for record in vision.records)


def test_a_cuda_error_in_mid_frame_ends_the_process_and_loses_nothing_sealed(
    tmp_path: Path, built: Path, clip: Path
) -> None:
    """Who was in view is sealed on the way out; the status is the one that says engine."""
    vision = Vision(tmp_path, built, clip, calls=500)
    (failed,) = [each for each in vision.heard if isinstance(each, messages.Failed)]
    assert (vision.status, failed.error) == (13, "EngineError")
    assert "GPU" in failed.problem and failed.remedy
    assert len(vision.records) == 2


def test_a_gpu_without_memory_ends_the_start(tmp_path: Path, built: Path, clip: Path) -> None:
    vision = Vision(tmp_path, built, clip, memory=3_000_000)
    (failed,) = [each for each in vision.heard if isinstance(each, messages.Failed)]
    assert (vision.status, failed.error) == (13, "EngineError")
    assert "no memory left" in failed.problem
    assert vision.records == []
