"""Which converted models are loaded, and that none is loaded which was altered."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from firmware.errors import EngineError
from firmware.settings import Settings, check
from firmware.vision import models
from firmware.vision.models import Index, Model

HEIGHTS = (256, 352, 448, 608, 800)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    detectors = [model("detector", (1, 3, h, 448), f"detector-448x{h}.onnx") for h in HEIGHTS]
    others = [model(name, (1, 3, 64, 64), f"{name}.onnx") for name in ("age", "gender")]
    expression = model("expression", (1, 3, 64, 64), "expression.onnx")
    for each in (*detectors, *others, expression):
        (tmp_path / each.file).write_bytes(each.file.encode())
    index = Index(models=(*detectors, *others, expression))
    (tmp_path / models.INDEX).write_bytes(msgspec.json.encode(index))
    return tmp_path


def model(name: str, shape: tuple[int, int, int, int], file: str) -> Model:
    sha256 = hashlib.sha256(file.encode()).hexdigest()
    return Model(name=name, file=file, sha256=sha256, input=shape, outputs={name: (1, 2)})


@pytest.mark.parametrize(
    ("frame_px", "height"),
    [
        ((1280, 720), 256),
        ((1920, 1080), 256),
        ((640, 480), 352),
        ((600, 600), 448),
        ((480, 640), 608),
        ((720, 1280), 800),
        ((1024, 586), 256),  # a third of an input's row too high
        ((400, 1280), 800),  # higher than any: the letterbox shrinks it
    ],
)
def test_the_detector_fits_the_shape_of_the_frames(
    folder: Path, frame_px: tuple[int, int], height: int
) -> None:
    found = models.find_detector(folder, width_px=448, frame_px=frame_px)
    assert found.input == (1, 3, height, 448)


def test_a_width_that_was_not_converted_names_the_command(folder: Path) -> None:
    with pytest.raises(EngineError, match="width_px = 640") as caught:
        models.find_detector(folder, width_px=640, frame_px=(1280, 720))
    assert "convert --width 640" in caught.value.remedy


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        ({}, ["detector", "age", "gender", "expression"]),
        ({"expression": False}, ["detector", "age", "gender"]),
        ({"context": "workplace", "expression": False}, ["detector", "age", "gender"]),
        ({"mode": "count"}, ["detector"]),
    ],
)
def test_the_policy_says_which_models_are_loaded(
    folder: Path, policy: dict[str, object], names: list[str]
) -> None:
    chosen = models.chosen(folder, check({"policy": policy}), (1280, 720))
    assert [each.name for each in chosen] == names


def test_an_altered_file_is_not_opened(folder: Path) -> None:
    age = models.find(folder, "age")
    (folder / "age.onnx").write_bytes(b"age.onny")
    with pytest.raises(EngineError, match="altered"), models.opened(folder, age):
        pass


def test_a_whole_file_is_opened_at_its_start(folder: Path) -> None:
    with models.opened(folder, models.find(folder, "age")) as file:
        assert file.read() == b"age.onnx"


def test_a_missing_file_is_an_error(folder: Path) -> None:
    age = models.find(folder, "age")
    (folder / "age.onnx").unlink()
    with pytest.raises(EngineError, match="missing"), models.opened(folder, age):
        pass


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b'{"models": 3}', b'{"models": [{"name": "age"}]}', b"\xff\xfe"],
    ids=["none", "empty", "cut", "wrong type", "missing keys", "binary"],
)
def test_a_damaged_index_is_an_error_with_the_commands(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / models.INDEX).write_bytes(content)
    with pytest.raises(EngineError) as caught:
        models.chosen(tmp_path, Settings(), (1280, 720))
    assert "python -m trt_engines convert" in caught.value.remedy


def test_the_model_set_depends_on_the_files_and_not_on_their_order(folder: Path) -> None:
    chosen = models.chosen(folder, Settings(), (1280, 720))
    name = models.model_set(chosen)
    assert len(name) == 8 and int(name, 16) >= 0
    assert models.model_set(reversed(chosen)) == name
    assert models.model_set(chosen[1:]) != name
    changed = msgspec.structs.replace(chosen[0], sha256="0" * 64)
    assert models.model_set([changed, *chosen[1:]]) != name


def test_the_folder_is_the_settings_or_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert models.directory("/srv/models") == Path("/srv/models")
    monkeypatch.setenv("FLOW_SENSOR_CACHE", "/srv/cache")
    assert models.directory() == Path("/srv/cache/models")
    monkeypatch.delenv("FLOW_SENSOR_CACHE")
    monkeypatch.setenv("HOME", "/home/sensor")
    assert models.directory() == Path("/home/sensor/.cache/flow-sensor/models")
