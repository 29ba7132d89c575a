"""`trt_engines compare` on four public-domain portraits: what fp16 changes, and what is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from firmware.errors import ConfigError
from firmware.vision import models
from hil import report
from hil.accuracy.labelled import read
from trt_engines import compare, typed
from trt_engines.__main__ import main
from trt_engines.acquire import portrait

# name, left, top and side of a square crop with the face in its middle
FACES = (("astronaut", 150, 60, 140), ("obama", 300, 60, 390), ("biden", 330, 130, 440))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for name, left, top, side in FACES:
        crop = read(portrait(name))[top : top + side, left : left + side]
        assert cv2.imwrite(str(folder / f"{name}.png"), cv2.resize(crop, (200, 200)))
    assert cv2.imwrite(str(folder / "wall.png"), np.full((200, 200, 3), 120, np.uint8))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The converted models, in a cache of this test's own with fp16 beside them."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "models").mkdir()
    for path in models.directory().iterdir():
        if path.is_file():
            (folder / "models" / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "REPORTS", folder / "reports")
        patch.setenv("FLOW_SENSOR_CACHE", str(folder))
        assert main(["build", "--onnx-only"]) == 0
        yield folder


def rows(cache: Path) -> dict[str, dict[str, object]]:
    figures = json.loads((cache / "reports" / "engines.json").read_text())
    assert figures["engines"] == [] and figures["gpu"] is None
    return {row["model"]: row for row in figures["parity"]}


def test_fp16_changes_no_decision_about_the_portraits(
    pictures: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--data", str(pictures)]) == 0
    found = rows(cache)
    assert list(found) == ["detector", "age", "gender", "expression"]
    for name, row in found.items():
        assert row["decisions_changed"] == 0 and row["within_limits"] is True
        # The wall has no face, so it counts for the detector alone.
        assert row["pictures"] == (4 if name == "detector" else 3)
        assert row["precision"] == "fp16" and "rounded" in str(row["runtime"])
        outputs = row["outputs"]
        assert isinstance(outputs, dict) and outputs
        for each in outputs.values():
            if name == "detector":  # stays in fp32
                assert each["max"] == 0
            else:  # something was rounded, and nothing broke
                assert 0 < each["mean"] <= each["max"] < (0.5 if name == "age" else 0.02)
    assert "gender      0 of 3 changed" in capsys.readouterr().out


def test_a_model_that_answers_otherwise_is_noticed(
    pictures: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gender network's classes exchanged, and 1 added to each age."""

    def spoilt(network: onnx.ModelProto, model: models.Model) -> onnx.ModelProto:
        for tensor in network.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if tensor.name == "gender/order":
                tensor.CopyFrom(numpy_helper.from_array(values[::-1].copy(), tensor.name))
            elif tensor.name == "years/moments":
                years = values[:, 0] + 1
                moved = np.stack([years, years**2], axis=1)
                tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
        return network

    typed.rewrite(cache / "models", cache / "models" / "int8", spoilt)
    assert main(["compare", "--data", str(pictures), "--precision", "int8"]) == 1
    found = rows(cache)
    assert found["gender"]["decisions_changed"] == 3 and not found["gender"]["within_limits"]
    assert found["expression"]["decisions_changed"] == 0 and found["expression"]["within_limits"]
    years = found["age"]["outputs"]
    assert isinstance(years, dict) and years["years"]["max"] == pytest.approx(1, abs=0.01)
    assert "gender changed more than is allowed" in capsys.readouterr().out


def test_errors_of_the_age_are_of_faces_seen_by_both_and_weighted() -> None:
    shown = [
        compare.Picture(Path("a"), age=30, weight=3),
        compare.Picture(Path("b"), age=50, weight=1),
        compare.Picture(Path("c"), age=40, weight=9),
        compare.Picture(Path("d")),
    ]
    gender, expression = np.zeros((4, 2), np.float32), np.zeros((4, 7), np.float32)
    before = np.array([32, 54, 41, 20], np.float32)
    after = np.array([33, 54, np.nan, 20], np.float32)
    named = {"precision": "fp16", "runtime": "test"}
    parity = compare.parity(
        shown,
        compare.Answers(before, gender, expression, []),
        compare.Answers(after, gender, expression, []),
        [],
        named,
    )
    found = {row["model"]: row for row in parity}
    assert found["detector"]["decisions_changed"] == 1
    assert found["age"]["mae_natural_fp32"] == pytest.approx((3 * 2 + 4) / 4)
    assert found["age"]["mae_natural"] == pytest.approx((3 * 3 + 4) / 4)
    assert found["age"]["mae_natural_change"] == pytest.approx(0.75)
    assert found["age"]["mae_balanced_change"] == pytest.approx(0.5)
    assert not found["age"]["within_limits"]
    assert found["age"]["decisions_changed"] == 0  # 32 and 33 years are of one bucket


def test_a_folder_without_pictures_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--data", str(tmp_path)]) == ConfigError.exit_code
    assert f"no pictures in {tmp_path}" in capsys.readouterr().err
