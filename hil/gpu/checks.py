"""What is done on a GPU, check after check; each gives its figures or says why it cannot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from firmware import engine_file
from firmware.drivers import onnx_engine, tensorrt_vendor
from firmware.drivers.gpu import Gpu
from firmware.drivers.gpu_sampler import EngineOnGpu, GpuSampler
from firmware.drivers.tensorrt_engine import TensorrtEngine
from firmware.drivers.video_file import VideoFile
from firmware.errors import SensorError
from firmware.record import Interaction
from firmware.settings import Settings
from firmware.vision import memory, models, wiping
from firmware.vision.frames import Layout
from firmware.vision.pipeline import Pipeline
from hil.accuracy.labelled import read
from hil.accuracy.stills import FRAME_PX as STILL_PX
from hil.accuracy.stills import Opener, Visitor, on_cpu
from hil.gpu import reference
from hil.gpu.peer import PROVIDERS, PeerEngine
from trt_engines import build
from trt_engines.compare import Picture

_FRAME_PX = (1280, 720)
_INPUT_PX = (448, 256)
_TOLERANCE = 0.05
"""Of 255, between a kernel's single precision and the reference's double."""
_TIMES = 20


class Bench:
    """One GPU, and what came of it.

    Attributes:
        ran: name of a check and its figures.
        refused: name of a check and, word for word, why it could not be done.
    """

    def __init__(self, gpu: Gpu, clip: Path, faces: Sequence[Picture]) -> None:
        self.gpu = gpu
        self.clip = clip
        self.faces = faces
        self.ran: list[dict[str, Any]] = []
        self.refused: list[dict[str, str]] = []
        self.wrong: list[str] = []

    def run(self, name: str, check: Callable[[], dict[str, Any]]) -> None:
        """Do one check; an error is written down, and the next one is done."""
        try:
            figures = check()
        except SensorError as error:
            words = f"{error.problem}: {error.__cause__}" if error.__cause__ else error.problem
            self.refused.append({"check": name, "words": words})
            if name != "engines":  # a GPU that TensorRT does not know is no fault of ours
                self.wrong.append(name)
            print(f"gpu: {name} refused: {words}", flush=True)
            return
        self.ran.append({"check": name, **figures})
        if not figures.get("passed", True):
            self.wrong.append(name)
        print(f"gpu: {name} {figures}", flush=True)

    def kernels(self) -> dict[str, Any]:
        """The greatest difference to numpy over layouts and maps, and how long a kernel takes."""
        worst = 0.0
        for layout in get_args(Layout):
            picture = _picture(layout)
            values = reference.colours(picture, layout)
            for region, affine in _MAPS:
                expected = reference.sampled(reference.halved(values, region), affine, *_INPUT_PX)
                given = self._sampled(picture, layout, region, affine)
                worst = max(worst, float(np.abs(given - expected).max()))
        return {
            "passed": worst <= _TOLERANCE,
            "largest_difference": round(worst, 4),
            "letterbox_us": self._microseconds("nv12", _MAPS[0]),
        }

    def engines(self) -> dict[str, Any]:
        """Build all engines for this GPU and run each once."""
        built = build.engines("this-machine", "fp16")
        loaded, _ = self.open(tensorrt=True)
        for engine in loaded.values():
            engine.run()
            engine.close()
        return {"builder": tensorrt_vendor.vendor().builder, "engines": len(built)}

    def open(
        self, tensorrt: bool, frame_px: tuple[int, int] = _FRAME_PX
    ) -> tuple[Mapping[str, EngineOnGpu], GpuSampler]:
        """Engines on the GPU, those of TensorRT or their peers, and what fills their inputs."""
        folder = models.directory()
        folder = engine_file.variant(folder) if tensorrt else folder
        load = TensorrtEngine if tensorrt else PeerEngine
        wanted = models.chosen(folder, Settings(), frame_px)
        engines = {model.name: load(self.gpu, folder, model) for model in wanted}
        return engines, GpuSampler(self.gpu, *frame_px)

    def compare(self, tensorrt: bool) -> dict[str, Any]:
        """Decisions about pictures of faces that differ from the processor's."""
        here = _answers(self.faces, on_cpu)
        there = _answers(self.faces, lambda *_: self.open(tensorrt, STILL_PX))
        both = [pair for pair in zip(here, there, strict=True) if all(pair)]
        changed = {
            name: sum(one[name].argmax() != two[name].argmax() for one, two in both)
            for name in ("gender", "expression")
        }
        years = [float(two["age"][0] - one["age"][0]) for one, two in both]
        return {
            "inference": _inference(tensorrt),
            "faces": len(self.faces),
            "seen_by_both": len(both),
            "seen_by_one": sum(
                bool(one) != bool(two) for one, two in zip(here, there, strict=True)
            ),
            "gender_changed": int(changed["gender"]),
            "expression_changed": int(changed["expression"]),
            "age_mean_difference_years": round(float(np.abs(years).mean()), 3),
            "age_bias_years": round(float(np.mean(years)), 3),
        }

    def pipeline(self, tensorrt: bool) -> dict[str, Any]:
        """A clip through the whole pipeline, beside the same on the processor."""
        with self._pipeline(tensorrt) as pipeline:
            ours, turns_ms = _played(pipeline, self.clip)
        folder = models.directory()
        engines = onnx_engine.load(folder, *models.chosen(folder, Settings(), _FRAME_PX))
        peer = Pipeline(Settings(), engines, model_set="00000000", frame_px=_FRAME_PX)
        try:
            theirs, cpu_ms = _played(peer, self.clip)
        finally:
            peer.close()
            for engine in engines.values():
                engine.close()
        pairs = zip(ours, theirs, strict=False)
        same = [_decisions(mine) == _decisions(other) for mine, other in pairs]
        return {
            "passed": len(ours) == len(theirs) and all(same),
            "inference": _inference(tensorrt),
            "interactions": len(ours),
            "interactions_on_cpu": len(theirs),
            "same_decisions": sum(same),
            "turn_ms": _percentiles(turns_ms),
            "turn_ms_on_cpu": _percentiles(cpu_ms),
        }

    def wipe(self, tensorrt: bool) -> dict[str, Any]:
        """Bytes that are not zero in all memory of the GPU: with visitors in view, and after."""
        with self._pipeline(tensorrt) as pipeline:
            _played(pipeline, self.clip, frames=60)
            before = _dirty_bytes()
            source = VideoFile(self.clip, realtime=False)
            pipeline.finish()
            began = time.perf_counter()
            wiping.everything(pipeline.engines, source)
            wipe_ms = (time.perf_counter() - began) * 1e3
            source.close()
            after = _dirty_bytes()
            held = sum(getattr(each, "nbytes", 0) for _, each in memory.adopted())
        return {
            "passed": before > 0 and after == 0,
            "inference": _inference(tensorrt),
            "bytes": held,
            "dirty_before": before,
            "dirty_after": after,
            "wipe_ms": round(wipe_ms, 1),
        }

    @contextmanager
    def _pipeline(self, tensorrt: bool) -> Any:
        engines, sampler = self.open(tensorrt)
        pipeline = Pipeline(
            Settings(), engines, model_set="00000000", frame_px=_FRAME_PX, sampler=sampler
        )
        try:
            yield pipeline
        finally:
            pipeline.close()
            for engine in engines.values():
                engine.close()

    def _sampled(
        self,
        picture: NDArray[np.uint8],
        layout: Layout,
        region: tuple[int, int, int, int, int],
        affine: tuple[float, ...],
        times: int = 1,
    ) -> NDArray[np.float32]:
        width, height = _INPUT_PX
        there = self.gpu.allocate("check.picture", picture.shape, np.uint8)
        into = self.gpu.allocate("check.input", (3, height, width), np.float32)
        stream = cuda.Stream()
        try:
            cuda.memcpy_htod(there.address, picture)
            kind = get_args(Layout).index(layout)
            arguments = (there.address, kind, *_FRAME_PX, *region, *affine, 0)
            began = time.perf_counter()
            for _ in range(times):
                target = (into.address, width * height, width, width, height)
                self.gpu.launch("sample", width, height, stream, *arguments, *target)
            stream.synchronize()
            self._spent_s = time.perf_counter() - began
            values: NDArray[np.float32] = into.read()
        finally:
            memory.release("check")
            there.free()
            into.free()
        return values

    def _microseconds(self, layout: Layout, way: Any) -> float:
        region, affine = way
        for times in (2, _TIMES):  # the first ones load the kernel
            self._sampled(_picture(layout), layout, region, affine, times=times)
        return round(self._spent_s / _TIMES * 1e6, 1)


_MAPS: tuple[tuple[tuple[int, int, int, int, int], tuple[float, ...]], ...] = (
    ((0, 0, 640, 360, 1), (640 / 448, 0.0, 0.2, 0.0, 360 / 252, 0.2)),
    ((100, 60, 900, 600, 0), (1.1, -0.4, 40.0, 0.4, 1.1, -20.0)),
    ((8, 16, 150, 80, 3), (0.3, 0.05, -2.0, -0.05, 0.3, 1.0)),
)


def _picture(layout: Layout) -> NDArray[np.uint8]:
    width, height = _FRAME_PX
    shape = (height * 3 // 2, width) if layout == "nv12" else (height, width, 3)
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def _played(
    pipeline: Pipeline, clip: Path, frames: int = 1 << 30
) -> tuple[list[Interaction], list[float]]:
    """What ended, and milliseconds of each turn."""
    source = VideoFile(clip, realtime=False)
    ended: list[Interaction] = []
    turns_ms: list[float] = []
    while len(turns_ms) < frames and source.read(pipeline.frame):
        began = time.perf_counter()
        ended += pipeline.turn()
        turns_ms.append((time.perf_counter() - began) * 1e3)
    source.close()
    if frames > len(turns_ms):
        ended += pipeline.finish()
    return ended, turns_ms


def _answers(faces: Sequence[Picture], opener: Opener) -> list[dict[str, NDArray[np.float32]]]:
    """What the networks say of each face; nothing of one that the detector does not see."""
    visitor, said = Visitor(models.directory(), Settings(), opener), []
    try:
        for face in faces:
            pixels = read(face.path)
            if face.enlarged > 1:
                pixels = np.asarray(cv2.resize(pixels, None, fx=2, fy=2), np.uint8)
            given = visitor.look(pixels) or {}
            said.append({name: values.copy() for name, values in given.items()})
    finally:
        visitor.close()
    return said


def _decisions(record: Interaction) -> tuple[Any, ...]:
    return record.gender.value, record.age.category, record.expression.dominant


def _percentiles(turns_ms: list[float]) -> dict[str, float]:
    steady = turns_ms[10:] or turns_ms
    return {f"p{q}": round(float(np.percentile(steady, q)), 2) for q in (50, 95)}


def _dirty_bytes() -> int:
    """Bytes that are not zero, in all memory that was adopted: the GPU's, and what it copies to."""
    count = 0
    for _, buffer in memory.adopted():
        values = buffer if isinstance(buffer, np.ndarray) else buffer.read()
        count += int(np.count_nonzero(values.view(np.uint8)))
    return count


def _inference(tensorrt: bool) -> str:
    return tensorrt_vendor.vendor().builder if tensorrt else f"onnxruntime {PROVIDERS[0]}"


def everything(bench: Bench) -> None:
    """All checks, in an order in which what fails says most."""
    bench.run("kernels", bench.kernels)
    bench.run("engines", bench.engines)
    tensorrt = any(done["check"] == "engines" for done in bench.ran)
    bench.run("compare", lambda: bench.compare(tensorrt))
    bench.run("pipeline", lambda: bench.pipeline(tensorrt))
    bench.run("wipe", lambda: bench.wipe(tensorrt))
