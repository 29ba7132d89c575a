"""The TensorRT driver: the ONNX driver's contract, on a GPU made of ordinary memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from firmware import engine_file
from firmware.drivers import onnx_engine, tensorrt_builder, tensorrt_vendor
from firmware.engine_file import Machine
from firmware.errors import EngineError
from firmware.settings import Settings
from firmware.vision import memory, models
from hil.accuracy.labelled import read
from tests.integration import gpu_bench
from tests.integration.gpu_bench import Gpu, TensorrtEngine, built, gpu, load
from trt_engines.acquire import portrait

__all__ = ["built", "gpu"]
FRAME_PX = (1280, 720)


@pytest.fixture
def engines(gpu: Gpu, built: Path) -> Iterator[dict[str, TensorrtEngine]]:
    variant = engine_file.variant(built)
    loaded = load(gpu, variant, *models.chosen(variant, Settings(), FRAME_PX))
    yield loaded
    gpu_bench.heal()
    for engine in loaded.values():
        engine.close()


def fill(engine: TensorrtEngine, rows: int = 1, change: int = 0) -> NDArray[np.float32]:
    """A portrait in each of the first rows of the input, each darker by `change` than the last."""
    import pycuda.driver as cuda

    picture = read(portrait("astronaut"))
    height, width = engine.input.shape[2:]
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    values = np.zeros(engine.input.shape, np.float32)
    for row in range(rows):
        values[row] = small[:, :, ::-1].transpose(2, 0, 1).clip(row * change, 255) - row * change
    cuda.memcpy_htod(engine.input.address, values)
    return values


def test_it_answers_like_the_onnx_driver(engines: dict[str, TensorrtEngine]) -> None:
    assert list(engines) == ["detector", "age", "gender", "expression"]
    folder = models.directory()
    peers = onnx_engine.load(folder, *models.chosen(folder, Settings(), FRAME_PX))
    for name, engine in engines.items():
        values = fill(engine)
        engine.run(1)
        peer = peers[name]
        peer.input[:] = values[:1]
        peer.run()
        for ours, theirs in zip(engine.outputs, peer.outputs, strict=True):
            np.testing.assert_array_equal(ours[:1], theirs)
        peer.close()


def test_a_batch_is_rows_that_know_nothing_of_each_other(
    engines: dict[str, TensorrtEngine],
) -> None:
    engine = engines["age"]
    assert engine.input.shape == (4, 3, 64, 64) and engine.outputs[0].shape == (4, 2)
    fill(engine, rows=3, change=40)
    engine.run(3)
    together = engine.outputs[0][:3].copy()
    assert len(np.unique(together[:, 0])) == 3
    for row in range(3):
        values = fill(engine, rows=3, change=40)
        engine.input.fill(0)
        import pycuda.driver as cuda

        cuda.memcpy_htod(engine.input.address, values[row : row + 1].copy())
        engine.run(1)
        np.testing.assert_array_equal(engine.outputs[0][0], together[row])


def test_a_run_of_each_size_is_recorded_once_and_then_launched(
    engines: dict[str, TensorrtEngine],
) -> None:
    engine, before = engines["gender"], gpu_bench.graph_launches()
    answers = []
    for rows in (2, 3, 2, 3, 4):
        fill(engine, rows=rows, change=10)
        engine.run(rows)
        answers.append(engine.outputs[0][:rows].copy())
    # 4 was recorded when the engine was loaded, 2 and 3 at their first run here.
    assert gpu_bench.graph_launches() - before == 3
    np.testing.assert_array_equal(answers[0], answers[2])
    np.testing.assert_array_equal(answers[1], answers[3])


def test_what_a_run_gives_depends_on_nothing_that_was_seen_before(
    engines: dict[str, TensorrtEngine],
) -> None:
    for engine in engines.values():
        engine.run()
        first = [output.copy() for output in engine.outputs]
        fill(engine)
        engine.run()
        engine.scrub()
        engine.run()
        for before, after in zip(first, engine.outputs, strict=True):
            np.testing.assert_array_equal(before, after)


# ---- the wipe -----------------------------------------------------------------------------------


def test_everything_on_the_gpu_is_registered_and_zero_after_a_scrub(
    engines: dict[str, TensorrtEngine],
) -> None:
    for name, engine in engines.items():
        fill(engine)
        engine.run()
        held = dict(memory.adopted(f"{name}_gpu_engine"))
        assert {each.rpartition(".")[2] for each in held} == {
            "pixels_on_gpu",
            "activations",
            *engine.about.outputs,
            *(f"{output}_on_gpu" for output in engine.about.outputs),
        }
        assert all(buffer.any() for buffer in held.values())
        engine.scrub()
        assert not any(buffer.any() for buffer in held.values())


def test_activations_are_in_memory_of_ours_and_hold_zeros_after_a_scrub(
    engines: dict[str, TensorrtEngine],
) -> None:
    engine = engines["expression"]
    values = fill(engine, rows=4)
    engine.run()
    held = engine.activations.read().view(np.float32)
    np.testing.assert_array_equal(held, values.reshape(-1))
    engine.scrub()
    assert not engine.activations.any()


def test_scrubbing_infers_from_zeros(
    engines: dict[str, TensorrtEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what the vendor keeps for itself holds nothing of a picture either."""
    seen: list[tuple[int, bool]] = []
    engine = engines["gender"]
    run = engine.run

    def watched(rows: int = 0) -> None:
        seen.append((rows, engine.input.any()))
        run(rows)

    monkeypatch.setattr(engine, "run", watched)
    fill(engine, rows=4)
    engine.scrub()
    assert seen == [(0, False)]


def test_memory_is_zero_when_it_is_given_back(gpu: Gpu, built: Path) -> None:
    variant = engine_file.variant(built)
    engine = TensorrtEngine(gpu, variant, models.find(variant, "age"))
    fill(engine)
    engine.run()
    before = gpu_bench.dirty_frees()
    engine.close()
    engine.close()
    assert gpu_bench.dirty_frees() == before
    assert not list(memory.adopted("age_gpu_engine"))
    TensorrtEngine(gpu, variant, models.find(variant, "age")).close()


def test_memory_of_the_gpu_that_nobody_wipes_cannot_be_had(gpu: Gpu) -> None:
    """A name is taken once, so that no buffer hides behind another."""
    gpu.allocate("test.one", (4,), np.float32)
    with pytest.raises(ValueError, match="already"):
        gpu.allocate("test.one", (4,), np.float32)
    assert [name for name, _ in memory.adopted("test")] == ["test.one"]


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        pytest.param(Machine("tensorrt", "10.7.0", "1.0"), "tensorrt 10.3.0", id="version"),
        pytest.param(Machine("tensorrt_rtx", "10.3.0", "1.0"), "tensorrt_rtx", id="library"),
        pytest.param(Machine("tensorrt", "10.3.0", "8.6"), "capability 1.0", id="GPU"),
    ],
)
def test_an_engine_of_another_machine_is_refused(
    gpu: Gpu, built: Path, monkeypatch: pytest.MonkeyPatch, machine: Machine, says: str
) -> None:
    monkeypatch.setattr(tensorrt_vendor, "machine", lambda: machine)
    variant = engine_file.variant(built)
    with pytest.raises(EngineError, match=says) as caught:
        TensorrtEngine(gpu, variant, models.find(variant, "age"))
    assert "build-engines" in caught.value.remedy
    assert not list(memory.adopted())


def folder_of(built: Path, tmp_path: Path, name: str) -> tuple[Path, models.Model]:
    """A folder with one model of its own, without an engine."""
    source = engine_file.variant(built)
    model = models.find(source, name)
    (tmp_path / model.file).symlink_to(source / model.file)
    return tmp_path, model


def test_an_engine_of_another_model_is_refused(gpu: Gpu, built: Path, tmp_path: Path) -> None:
    folder, age = folder_of(built, tmp_path, "age")
    gender = models.find(engine_file.variant(built), "gender")
    gpu_bench.put(engine_file.variant(built), gender, batch=4)
    path = engine_file.path(folder, age)
    path.parent.mkdir()
    for part in (path, engine_file.sidecar(path)):
        other = engine_file.path(engine_file.variant(built), gender)
        other = other if part == path else engine_file.sidecar(other)
        part.write_bytes(other.read_bytes())
    with pytest.raises(EngineError, match=r"another model than age\.onnx"):
        TensorrtEngine(gpu, folder, age)


@pytest.mark.parametrize("kept", [0, 10, -1])
def test_a_truncated_engine_is_refused(gpu: Gpu, built: Path, tmp_path: Path, kept: int) -> None:
    folder, model = folder_of(built, tmp_path, "age")
    path = gpu_bench.put(folder, model, batch=4)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(EngineError, match=r"age\.engine has \d+ of \d+ bytes"):
        TensorrtEngine(gpu, folder, model)
    assert not list(memory.adopted())


def test_an_engine_that_the_vendor_refuses(gpu: Gpu, built: Path, tmp_path: Path) -> None:
    """Its description is right, and the file is not what TensorRT wrote."""
    folder, model = folder_of(built, tmp_path, "age")
    content = b"not an engine"
    path = engine_file.path(folder, model)
    engine_file.write(path, content, gpu_bench.describe(model, content, 4))
    with pytest.raises(EngineError, match=r"refuses engine .*age\.engine") as caught:
        TensorrtEngine(gpu, folder, model)
    assert "malformed" in str(caught.value.__cause__)
    assert not list(memory.adopted())


def test_what_the_real_tensorrt_says_of_a_truncated_engine(
    gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its description says that it is whole, so the vendor's own library must find out."""
    real = tensorrt_vendor.vendor("tensorrt_rtx")
    machine = Machine("tensorrt_rtx", real.version, "8.6")
    model = models.find(models.directory(), "gender")
    (tmp_path / model.file).symlink_to(models.directory() / model.file)
    tensorrt_builder.build(tmp_path, model, machine, precision="fp32")
    path = engine_file.path(tmp_path, model)
    content = path.read_bytes()[:-1000]
    engine_file.write(path, content, gpu_bench.describe(model, content, 4, machine))
    monkeypatch.setattr(tensorrt_vendor, "machine", lambda: machine)
    with pytest.raises(EngineError, match=r"refuses engine .*gender\.engine") as caught:
        TensorrtEngine(gpu, tmp_path, model)
    assert "Serialization assertion" in str(caught.value.__cause__)
    assert not list(memory.adopted())


@pytest.mark.parametrize("megabytes", [0.1, 0.25, 0.45])
def test_a_gpu_without_memory_is_an_engine_error_and_leaks_nothing(
    gpu: Gpu, built: Path, megabytes: float
) -> None:
    variant = engine_file.variant(built)
    model = models.find(variant, "age")
    gpu_bench.only(int(megabytes * 1e6) // 2)
    with pytest.raises(EngineError, match="no memory left") as caught:
        TensorrtEngine(gpu, variant, model)
    assert type(caught.value.__cause__).__name__ == "MemoryError"
    assert not list(memory.adopted())
    gpu_bench.only(1 << 30)
    TensorrtEngine(gpu, variant, model).close()


def test_a_cuda_error_in_mid_run_is_an_engine_error(engines: dict[str, TensorrtEngine]) -> None:
    engine = engines["age"]
    fill(engine)
    for calls in range(3):
        gpu_bench.fail_after(calls)
        with pytest.raises(EngineError, match=r"age|cuGraphLaunch") as caught:
            engine.run(2)
        assert caught.value.remedy


def test_a_run_that_the_vendor_does_not_even_queue_is_an_engine_error(
    engines: dict[str, TensorrtEngine],
) -> None:
    gpu_bench.fail_after(0)
    with pytest.raises(EngineError) as caught:
        engines["gender"].run(3)
    assert caught.value.problem == "inference of gender failed"


def test_after_a_cuda_error_the_host_is_wiped_all_the_same(
    gpu: Gpu, engines: dict[str, TensorrtEngine]
) -> None:
    votes = memory.allocate("test.votes", (4,), np.float32)
    votes.fill(1)
    engine = engines["age"]
    fill(engine)
    engine.run(1)
    assert engine.outputs[0].any()
    gpu_bench.fail_after(0)
    with pytest.raises(EngineError):
        memory.wipe()
    assert not votes.any() and not engine.outputs[0].any()
