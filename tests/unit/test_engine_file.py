"""An engine is loaded where its description fits the machine and the model, and nowhere else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware import engine_file
from firmware.engine_file import Batch, EngineFile, Machine
from firmware.errors import EngineError
from firmware.vision.models import Model

CONTENT = b"an engine's bytes" * 50
MODEL = Model(
    name="age", file="age.onnx", sha256="ab" * 32, input=(1, 3, 64, 64), outputs={"years": (1, 2)}
)
HERE = Machine("tensorrt", "10.3.0", "8.7")
ABOUT = EngineFile(
    model="age",
    model_sha256=MODEL.sha256,
    precision="fp16",
    builder="tensorrt",
    builder_version="10.3.0",
    compute_capability="8.7",
    target="orin-nano-jp6",
    batch=Batch(1, 4, 16),
    inputs={"pixels": (-1, 3, 64, 64)},
    outputs={"years": (-1, 2)},
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    build_s=12.5,
    build_host="aarch64, Ubuntu 22.04",
    built_at="2026-11-25T20:00:00+00:00",
)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = engine_file.path(tmp_path, MODEL)
    engine_file.write(path, CONTENT, ABOUT)
    return path


def test_what_was_written_is_read_back(engine: Path) -> None:
    assert engine.name == "age.engine"
    assert engine_file.read(engine, MODEL, HERE) == (ABOUT, CONTENT)
    assert sorted(path.name for path in engine.parent.iterdir()) == [
        "age.engine",
        "age.engine.json",
    ]


@pytest.mark.parametrize(
    ("model", "here", "problem"),
    [
        ({"sha256": "ef" * 32}, HERE, "another model than age.onnx"),
        ({"name": "gender"}, HERE, "another model"),
        ({}, HERE._replace(builder_version="10.7.0"), "tensorrt 10.3.0, and this machine has"),
        ({}, HERE._replace(builder="tensorrt_rtx"), "this machine has tensorrt_rtx 10.3.0"),
        ({}, HERE._replace(compute_capability="8.6"), r"8\.7, and this machine's has 8\.6"),
    ],
)
def test_an_engine_for_something_else_is_refused_with_the_command_that_rebuilds_it(
    engine: Path, model: dict[str, Any], here: Machine, problem: str
) -> None:
    with pytest.raises(EngineError, match=problem) as caught:
        engine_file.read(engine, msgspec.structs.replace(MODEL, **model), here)
    assert "flow-sensor build-engines" in caught.value.remedy
    assert str(engine) in caught.value.problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (CONTENT[:-1], "has 849 of 850 bytes"),
        (b"", "has 0 of"),
        (CONTENT[:-1] + b"x", "altered"),
        (None, "cannot be read"),
    ],
)
def test_a_truncated_or_altered_engine_is_refused(
    engine: Path, content: bytes | None, problem: str
) -> None:
    if content is None:
        engine.unlink()
    else:
        engine.write_bytes(content)
    with pytest.raises(EngineError, match=problem) as caught:
        engine_file.read(engine, MODEL, HERE)
    assert "build-engines" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "no description"),
        (b"{", "damaged description"),
        (msgspec.json.encode(msgspec.structs.replace(ABOUT, sha256="1234")), "damaged"),
        (msgspec.json.encode(ABOUT).replace(b'"version":1', b'"version":2'), "damaged"),
        (msgspec.json.encode(ABOUT).replace(b'"min":1', b'"min":0'), "damaged"),
        (msgspec.json.encode(ABOUT).replace(b"{", b'{"more":1,', 1), "damaged"),
    ],
)
def test_a_missing_or_damaged_description_is_an_error(
    engine: Path, text: bytes | None, problem: str
) -> None:
    if text is None:
        engine_file.sidecar(engine).unlink()
    else:
        engine_file.sidecar(engine).write_bytes(text)
    with pytest.raises(EngineError, match=problem):
        engine_file.read(engine, MODEL, HERE)


def test_no_engine_at_all_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"age\.engine does not exist"):
        engine_file.read(engine_file.path(tmp_path, MODEL), MODEL, HERE)


def test_a_folder_that_takes_no_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file, no folder")
    with pytest.raises(EngineError, match="cannot be written"):
        engine_file.write(engine_file.path(tmp_path, MODEL), CONTENT, ABOUT)


def test_power_that_fails_between_engine_and_description_leaves_no_pair_that_fits(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target == engine_file.sidecar(engine):
            raise OSError(28, "no room")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(EngineError, match="no room"):
        engine_file.write(engine, b"newer", ABOUT)
    with pytest.raises(EngineError, match="no description"):
        engine_file.read(engine, MODEL, HERE)
