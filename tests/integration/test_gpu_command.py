"""`make gpu`, on a machine without a GPU and on one made of ordinary memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware.drivers import gpu_kernels
from firmware.errors import EngineError
from firmware.vision import models
from hil import report
from hil.gpu import __main__ as command
from hil.scenes.render import Scene
from hil.scenes.script import Script, Visitor
from hil.scenes.source import write_video
from tests.integration.gpu_bench import Gpu, built, gpu
from trt_engines.acquire import portrait
from trt_engines.compare import pictures
from trt_engines.figures import merge

# What follows asks for CUDA's driver when it is imported.
from hil.gpu.checks import Bench, everything  # isort: skip

__all__ = ["built", "gpu"]
FACES = pictures(portrait("astronaut").parent, 0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "visitor.mp4"
    visitor = Visitor(portrait="astronaut", path=((0.2, -0.4, 1.6), (1.2, 0.4, 1.2)))
    script = Script(title="A visitor", seconds=1.4, interactions=1, visitor=(visitor,))
    write_video(Scene(script), path)
    return path


def test_without_a_gpu_it_says_so_and_has_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    assert command.main(["--gpu-only"]) == 3
    assert "NO GPU: no GPU can be used (" in capfd.readouterr().err
    assert json.loads((tmp_path / "engines.json").read_text())["gpu"] is None


@pytest.mark.parametrize(("passes", "status"), [(True, 3), (False, 1)])
def test_without_a_gpu_what_needs_none_still_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, passes: bool, status: int
) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    monkeypatch.setattr(command, "without_gpu", lambda: passes)
    assert command.main([]) == status


@pytest.mark.parametrize("timed", [True, False])
def test_what_a_gpu_gave_is_in_the_report(
    gpu: Gpu, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, timed: bool
) -> None:
    def say(what: str, *words: str) -> bool:
        assert words == ("-m", "trt_engines", "bench")
        merge(bench=[{"model": "age", "p50_ms": 1.0}])
        return timed

    monkeypatch.setattr(report, "REPORTS", tmp_path)
    monkeypatch.setattr(command, "_say", say)
    monkeypatch.setattr(command, "_clip", lambda: clip)
    monkeypatch.setattr("trt_engines.build.prepare", lambda precision: None)
    monkeypatch.setattr(gpu_kernels, "build", lambda capability: tmp_path)
    monkeypatch.setattr(
        "hil.gpu.checks.everything", lambda bench: bench.ran.append({"check": "engines"})
    )
    assert command.main(["--gpu-only"]) == (0 if timed else 1)
    row = json.loads((tmp_path / "engines.json").read_text())["gpu"]
    assert row == {
        "device": "fake GPU",
        "compute_capability": "1.0",
        "ran": [{"check": "engines"}],
        "refused": [],
        "bench": [{"model": "age", "p50_ms": 1.0}] if timed else [],
    }


def test_a_pycuda_that_cannot_be_built_is_written_down(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    monkeypatch.setattr(gpu_kernels, "build", lambda capability: tmp_path)
    monkeypatch.setattr(command, "build_pycuda", lambda: "fatal error: cuda.h")
    assert command.main(["--gpu-only"]) == 1
    row = json.loads((tmp_path / "engines.json").read_text())["gpu"]
    assert row["refused"] == [{"check": "pycuda", "words": "fatal error: cuda.h"}]


def test_the_tests_that_it_runs_are_there() -> None:
    assert all((report.ROOT / test).is_file() for test in command._TESTS)


def test_where_tensorrt_refuses_a_gpu_all_else_runs_with_a_peer(gpu: Gpu, clip: Path) -> None:
    bench = Bench(gpu, clip, FACES)
    everything(bench)
    (refused,) = bench.refused
    assert refused["check"] == "engines" and refused["words"]
    figures = {done["check"]: done for done in bench.ran}
    assert set(figures) == {"kernels", "compare", "pipeline", "wipe"} and not bench.wrong
    compared = figures["compare"]
    assert compared["seen_by_both"] >= 1 and compared["seen_by_one"] == 0
    assert compared["gender_changed"] == compared["expression_changed"] == 0
    assert compared["age_mean_difference_years"] < 1
    assert figures["kernels"]["largest_difference"] <= 0.05
    assert figures["pipeline"]["interactions"] == figures["pipeline"]["same_decisions"] == 1
    assert figures["wipe"]["dirty_before"] > 100_000 and figures["wipe"]["dirty_after"] == 0
    assert figures["wipe"]["inference"] == "onnxruntime CPUExecutionProvider"


def test_where_tensorrt_runs_the_pipeline_runs_on_it(
    gpu: Gpu, clip: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "directory", lambda setting="": built)
    bench = Bench(gpu, clip, FACES)
    bench.run("pipeline", lambda: bench.pipeline(True))
    bench.run("wipe", lambda: bench.wipe(True))
    assert not bench.wrong and not bench.refused
    pipeline, wipe = bench.ran
    assert pipeline["inference"] == wipe["inference"] == "tensorrt"
    assert pipeline["same_decisions"] == 1 and wipe["dirty_after"] == 0


def test_a_wrong_kernel_is_found(gpu: Gpu, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = gpu.launch

    def moved(kernel: str, columns: int, rows: int, stream: object, *arguments: float) -> None:
        given = list(arguments)
        given[11] += 0.01  # x0
        launch(kernel, columns, rows, stream, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(gpu, "launch", moved)
    bench = Bench(gpu, clip, FACES)
    bench.run("kernels", bench.kernels)
    assert bench.wrong == ["kernels"]


# ---- kernels for a GPU ---------------------------------------------------------------------------


def test_kernels_that_were_not_built_are_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"compute capability 9\.9 were not built") as caught:
        gpu_kernels.read((9, 9))
    assert "gpu_kernels 9.9" in caught.value.remedy


def test_without_a_compiler_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name, path="": None)
    with pytest.raises(EngineError, match="no nvcc") as caught:
        gpu_kernels.build((8, 7))
    assert "cuda-nvcc" in caught.value.remedy


def test_what_the_compiler_refuses_is_an_engine_error_and_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "nvcc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(EngineError, match=r"compute capability 8\.7"):
        gpu_kernels.build((8, 7))
    assert not list((tmp_path / "cache" / "native").iterdir())
