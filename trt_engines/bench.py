"""`python -m trt_engines bench`: latency, memory and build time of the models on each runtime here.

Every model runs with 1 … 16 faces at once, the detector with one frame: on ONNX Runtime with one
thread of the processor, as the sensor uses it; on ONNX Runtime's CUDA where onnxruntime-gpu is
installed, from and to the computer's memory; on TensorRT where there is a GPU with engines for it,
from the GPU's memory, as the sensor uses it. Nothing else should run meanwhile. `memory_mb` is by
how much this process, or what is in use of the GPU, grew when a model was loaded and run once.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from firmware import engine_file
from firmware.drivers import tensorrt_vendor
from firmware.drivers.onnx_engine import OnnxEngine
from firmware.engine_file import Precision
from firmware.errors import EngineError
from firmware.vision import models
from firmware.vision.models import Model
from trt_engines.figures import merge

BATCHES = (1, 2, 4, 8, 16)
_RUNS, _SECONDS = 200, 2.0
"""A figure is of so many runs, or of those that fit into that time, but of ten at least."""
_DETECTOR_PX = (1280, 720)
"""Frames whose detector is measured."""


class Loaded(NamedTuple):
    run: Callable[[], None]
    close: Callable[[], None]
    build_s: float = 0.0


Loader = Callable[[Path, Model], Loaded]
"""Loads a model of a folder whose `input` says the batch."""


class Runtime(NamedTuple):
    """What can run models here.

    Attributes:
        precision: of the files that it takes.
        used_mb: memory in use where it runs.
    """

    name: str
    precision: Precision
    load: Loader
    used_mb: Callable[[], float]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, default=448, help="the detector's input width (448)")
    parser.set_defaults(run=main)


def main(chosen: argparse.Namespace) -> int:
    rows = []
    for runtime in runtimes():
        for row in measured(runtime, chosen.width):
            rows.append({"runtime": runtime.name, "precision": runtime.precision, **row})
            print(
                "{runtime:16} {precision} {model:11} batch {batch:2}: p50 {p50_ms:8.3f} ms  "
                "p95 {p95_ms:8.3f} ms  {memory_mb:6.1f} MB  load {load_s:5.2f} s".format(
                    **rows[-1]
                ),
                flush=True,
            )
    print(f"bench: report → {merge(bench=rows)}")
    return 0


def runtimes() -> Iterator[Runtime]:
    """Those that can be used on this machine."""
    yield Runtime("onnxruntime-cpu", "fp32", on_cpu, resident_mb)
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        yield Runtime("onnxruntime-cuda", "fp32", on_cuda, resident_mb)
        yield Runtime("onnxruntime-cuda", "fp16", on_cuda, resident_mb)
    try:
        yield tensorrt()
    except EngineError as error:
        print(f"bench: no TensorRT: {error.problem}", flush=True)


def measured(runtime: Runtime, width_px: int) -> Iterator[dict[str, Any]]:
    """A row for each model and batch.

    Raises:
        EngineError: there are no models in that precision, or one cannot be loaded.
    """
    folder = engine_file.variant(models.directory(), runtime.precision)
    detector = models.find_detector(folder, width_px=width_px, frame_px=_DETECTOR_PX)
    yield _row(runtime, folder, detector)
    for name in ("age", "gender", "expression"):
        for batch in BATCHES:
            yield _row(runtime, folder, with_batch(models.find(folder, name), batch))


def _row(runtime: Runtime, folder: Path, model: Model) -> dict[str, Any]:
    before_mb, began = runtime.used_mb(), time.perf_counter()
    loaded = runtime.load(folder, model)
    try:
        loaded.run()
        return {
            "model": model.name,
            "batch": model.input[0],
            "build_s": loaded.build_s,
            "load_s": round(time.perf_counter() - began, 3),
            "memory_mb": round(runtime.used_mb() - before_mb, 1),
            **latency(loaded.run),
        }
    finally:
        loaded.close()


def latency(run: Callable[[], None]) -> dict[str, float]:
    """p50 and p95 of `run`, and runs per second, after three that are not counted."""
    for _ in range(3):
        run()
    taken: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(taken) < 10 or (len(taken) < _RUNS and time.perf_counter() < until):
        began = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - began))
    p50, p95 = (round(float(np.percentile(taken, q)), 3) for q in (50, 95))
    return {"p50_ms": p50, "p95_ms": p95, "runs": len(taken)}


def with_batch(model: Model, batch: int) -> Model:
    """`model` for `batch` inputs at once; its file must take any number."""
    outputs = {name: (batch, *shape[1:]) for name, shape in model.outputs.items()}
    return msgspec.structs.replace(model, input=(batch, *model.input[1:]), outputs=outputs)


def on_cpu(folder: Path, model: Model) -> Loaded:
    engine = OnnxEngine(folder, model)
    engine.input[:] = _noise(model)
    return Loaded(engine.run, engine.close)


def on_cuda(folder: Path, model: Model) -> Loaded:
    with models.opened(folder, model) as file:
        content = file.read()
    session = onnxruntime.InferenceSession(content, providers=["CUDAExecutionProvider"])
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise EngineError(
            f"ONNX Runtime does not run {model.file} on this GPU",
            remedy="install the CUDA and cuDNN that this onnxruntime-gpu was built for",
        )
    pixels = _noise(model)
    return Loaded(lambda: session.run(None, {"pixels": pixels}), lambda: None)


def tensorrt() -> Runtime:
    """TensorRT or TensorRT-RTX, whichever the engines on this machine are of.

    Raises:
        EngineError: there is no GPU, or no pycuda.
    """
    machine = tensorrt_vendor.machine()
    try:
        import pycuda.driver as cuda  # noqa: PLC0415  only where there is a GPU

        from firmware.drivers.gpu import open_gpu  # noqa: PLC0415
        from firmware.drivers.tensorrt_engine import TensorrtEngine  # noqa: PLC0415
    except ImportError as error:
        raise EngineError(
            "pycuda cannot be imported", remedy="install it: requirements/jetson.txt"
        ) from error
    gpu = open_gpu()

    def load(folder: Path, model: Model) -> Loaded:
        engine = TensorrtEngine(gpu, folder, model)
        cuda.memcpy_htod(engine.input.address, _noise(model))
        rows = model.input[0]
        return Loaded(lambda: engine.run(rows), engine.close, engine.about.build_s)

    def used_mb() -> float:
        free, total = cuda.mem_get_info()
        return (total - free) / 1e6

    return Runtime(machine.builder, engine_file.PRECISION, load, used_mb)


def _noise(model: Model) -> NDArray[np.float32]:
    """A plain picture would be slower: sums that are nearly zero take a processor longer."""
    return np.random.default_rng(1).uniform(0, 255, model.input).astype(np.float32)


def resident_mb() -> float:
    """Of this process, once what was freed has been given back."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
