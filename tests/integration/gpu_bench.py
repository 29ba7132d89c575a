"""The GPU's drivers on a GPU that is not there: import this before anything of them.

Everything of the sensor's is real: drivers, kernels, models, pipeline. Only the hardware and the
vendors' modules for it are those of tests/fake_hardware.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from firmware import engine_file
from firmware.engine_file import Batch, EngineFile, Machine
from firmware.vision import memory, models
from firmware.vision.models import INDEX, Index, Model
from tests import fake_hardware

LIBRARY = fake_hardware.install()

# What follows asks for CUDA's driver when it is imported.
from firmware.drivers.gpu import DeviceArray, Gpu, open_gpu  # noqa: E402
from firmware.drivers.gpu_sampler import GpuSampler  # noqa: E402
from firmware.drivers.tensorrt_engine import TensorrtEngine, load  # noqa: E402
from tests.fake_hardware.tensorrt import serialized  # noqa: E402

__all__ = ["DeviceArray", "Gpu", "GpuSampler", "TensorrtEngine", "fail_after", "load", "open_gpu"]

HERE = Machine("tensorrt", "10.3.0", "1.0")


def heal() -> None:
    """The GPU works, and has memory enough."""
    fake_hardware.reset(LIBRARY)


def fail_after(calls: int) -> None:
    """The GPU accepts so many more pieces of work, and then fails for good."""
    fake_hardware.reset(LIBRARY, calls=calls)


def only(memory_bytes: int) -> None:
    """So much of the GPU's memory is left."""
    fake_hardware.reset(LIBRARY, memory=memory_bytes)


def graph_launches() -> int:
    return int(LIBRARY.fake_graph_launches())


def dirty_frees() -> int:
    """Pieces of GPU memory that were given back and were not zero."""
    return int(LIBRARY.fake_dirty_frees())


def describe(model: Model, content: bytes, batch: int, machine: Machine = HERE) -> EngineFile:
    import hashlib

    def dynamic(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (-1, *shape[1:]) if batch > 1 else shape

    return EngineFile(
        model=model.name,
        model_sha256=model.sha256,
        precision="fp16",
        builder=machine.builder,
        builder_version=machine.builder_version,
        compute_capability=machine.compute_capability,
        target="this-machine",
        batch=Batch(1, 1, batch),
        inputs={"pixels": dynamic(model.input)},
        outputs={name: dynamic(shape) for name, shape in model.outputs.items()},
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        build_s=0.1,
        build_host="x86_64 Linux",
        built_at="2026-01-01T00:00:00+00:00",
    )


def put(folder: Path, model: Model, *, batch: int, machine: Machine = HERE) -> Path:
    """The engine of a model, as the builder lays it."""
    content = serialized((folder / model.file).read_bytes(), batch)
    path = engine_file.path(folder, model)
    engine_file.write(path, content, describe(model, content, batch, machine))
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, its variant for GPUs and all engines; faces go four at a time."""
    folder = tmp_path_factory.mktemp("models")
    source = models.directory()
    variant = engine_file.variant(folder)
    variant.mkdir()
    index = models.index(source)
    for each in (folder, variant):
        (each / INDEX).write_bytes(msgspec.json.encode(Index(models=index.models)))
        for model in index.models:
            (each / model.file).symlink_to(source / model.file)
    for model in index.models:
        put(variant, model, batch=1 if model.name == "detector" else 4)
    return folder


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """A GPU in good health; whatever was allocated is gone after the test."""
    heal()
    fake_hardware.visible(monkeypatch, LIBRARY)
    yield open_gpu()
    heal()
    for owner in {name.partition(".")[0] for name, _ in [*memory.adopted(), *memory.buffers()]}:
        memory.release(owner)
