"""`trt_engines bench` on what every machine has; no figure is asserted, only that it is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware.drivers import tensorrt_vendor
from firmware.errors import EngineError
from firmware.vision import models
from hil import report
from trt_engines import bench, figures
from trt_engines.__main__ import main


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").mkdir()
    for path in models.directory().iterdir():
        if path.is_file():
            (tmp_path / "models" / path.name).symlink_to(path)
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(tmp_path))
    monkeypatch.setattr(bench, "_SECONDS", 0.0)  # ten runs a figure
    monkeypatch.setattr(bench, "BATCHES", (1, 3))
    return tmp_path


def test_every_model_and_batch_has_a_row_and_a_missing_gpu_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_gpu() -> str:
        raise EngineError("no GPU can be used", remedy="use another")

    monkeypatch.setattr(tensorrt_vendor, "compute_capability", no_gpu)
    assert main(["build", "--onnx-only", "--precision", "fp32"]) == 0
    gpu = {"device": "a GPU", "ran": [], "refused": [], "bench": []}
    figures.merge(gpu=gpu)
    assert main(["bench"]) == 0
    assert "no TensorRT: no GPU can be used" in capsys.readouterr().out
    found = json.loads((cache / "reports" / "engines.json").read_text())
    assert found["gpu"] == gpu  # another command's part stays
    rows = [row for row in found["bench"] if row["runtime"] == "onnxruntime-cpu"]
    assert [(row["model"], row["batch"]) for row in rows] == [
        ("detector", 1),
        *((name, batch) for name in ("age", "gender", "expression") for batch in bench.BATCHES),
    ]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p95_ms"] and row["runs"] == 10 and row["load_s"] > 0


def test_models_that_were_not_typed_are_an_error(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench"]) == EngineError.exit_code
    assert str(cache / "models" / "fp32") in capsys.readouterr().err
