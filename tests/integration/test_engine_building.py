"""All models built by the real TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import ctypes
import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import cli, engine_building, engine_file
from firmware.drivers import tensorrt_builder, tensorrt_vendor
from firmware.engine_file import Batch, Machine
from firmware.errors import EngineError
from firmware.settings import Settings
from firmware.vision import models
from hil import report
from trt_engines import targets
from trt_engines.__main__ import main

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="setup.cfg installs TensorRT-RTX on x86-64 only"
)

TARGETS = {"rtx-sm86": "8.6", "rtx-sm89": "8.9"}
FILES = {
    **{f"detector-448x{height}": "detector" for height in (256, 352, 448, 608, 800)},
    **{name: name for name in ("age", "gender", "expression")},
}


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The converted models in a cache of this test's own, their engines built for two targets."""
    folder = tmp_path_factory.mktemp("engines")
    converted = folder / "models"
    converted.mkdir()
    for path in models.directory().iterdir():
        if path.is_file():
            (converted / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "REPORTS", folder / "reports")
        patch.setenv("FLOW_SENSOR_CACHE", str(folder))
        patch.chdir(folder)
        wanted = [word for name in TARGETS for word in ("--target", name)]
        assert main(["build", *wanted]) == 0
        yield converted


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with an RTX 30 in it: what its driver would answer."""
    monkeypatch.setattr(tensorrt_vendor, "compute_capability", lambda: "8.6")
    return tensorrt_vendor.machine()


def engines(models_folder: Path, target: str) -> dict[str, engine_file.EngineFile]:
    folder = models_folder.parent / "build" / "engines" / target / "fp16"
    return {path.stem: engine_file.describe(path) for path in folder.glob("*.engine")}


@pytest.mark.parametrize("target", TARGETS)
def test_every_model_is_built_and_read_back_for_each_target(
    models_folder: Path, target: str
) -> None:
    built = engines(models_folder, target)
    assert {stem: about.model for stem, about in built.items()} == FILES
    fp16 = engine_file.variant(models_folder)
    version = tensorrt_vendor.vendor("tensorrt_rtx").version
    machine = Machine("tensorrt_rtx", version, TARGETS[target])
    for model in models.index(fp16).models:
        stem = Path(model.file).stem
        place = models_folder.parent / "build" / "engines" / target / "fp16" / f"{stem}.engine"
        about, content = engine_file.read(place, model, machine)
        assert about == built[stem]
        assert (about.precision, about.target, len(content)) == ("fp16", target, about.bytes)
        # An engine holds the weights at least, and little else.
        weights = (fp16 / model.file).stat().st_size
        assert 0.9 * weights < about.bytes < weights + (2 << 20)
        print(f"{target} {stem:18} {about.bytes:10,} bytes {about.build_s:5.2f} s")


def test_attribute_engines_take_up_to_16_faces_and_detectors_one_frame(models_folder: Path) -> None:
    for about in engines(models_folder, "rtx-sm86").values():
        shapes = [*about.inputs.values(), *about.outputs.values()]
        if about.model == "detector":
            assert about.batch == Batch(1, 1, 1)
            assert {shape[0] for shape in shapes} == {1}
        else:
            assert about.batch == Batch(1, 4, 16)
            assert {shape[0] for shape in shapes} == {-1}
    built = engines(models_folder, "rtx-sm86")
    assert built["age"].inputs == {"pixels": (-1, 3, 64, 64)}
    assert built["expression"].outputs == {"expression": (-1, 7)}
    assert built["detector-448x256"].outputs["landmarks"] == (1, 10, 64, 112)


def test_the_report_has_a_row_for_each_engine_and_keeps_those_of_other_targets(
    models_folder: Path,
) -> None:
    figures = json.loads((models_folder.parent / "reports" / "engines.json").read_text())
    assert figures["parity"] == [] and figures["gpu"] is None
    rows = figures["engines"]
    assert len(rows) == len(FILES) * len(TARGETS)
    assert {row["target"] for row in rows} == set(TARGETS)
    for row in rows:
        assert {"model", "target", "builder", "precision", "bytes", "build_s"} <= row.keys()
        assert row["builder"] == "tensorrt_rtx" and row["bytes"] > 0 and row["build_s"] > 0
    assert main(["build", "--target", "rtx-sm86"]) == 0
    again = json.loads((models_folder.parent / "reports" / "engines.json").read_text())["engines"]
    assert len(again) == len(rows)


def test_a_first_boot_builds_what_the_settings_need_and_a_second_one_nothing(
    models_folder: Path, rtx: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build-engines"]) == 0
    said = capsys.readouterr().out
    assert "build detector-448x256.engine: " in said and "does not exist" in said
    assert f"tensorrt_rtx {rtx.builder_version} 8.6" in said
    fp16 = engine_file.variant(models_folder)
    chosen = models.chosen(fp16, Settings(), (1280, 720))
    assert chosen[0].file == "detector-448x256.onnx"
    for model in chosen:
        engine_file.read(engine_file.path(fp16, model), model, rtx)
    assert cli.main(["build-engines"]) == 0
    assert capsys.readouterr().out.count("have  ") == len(chosen) == 4
    # One that was cut short by a power failure is built again, and only that one.
    age = engine_file.path(fp16, models.find(fp16, "age"))
    age.write_bytes(age.read_bytes()[:1000])
    assert [about.model for about in engine_building.rebuild(Settings())] == ["age"]
    assert "has 1000 of" in capsys.readouterr().out


@pytest.mark.usefixtures("rtx")
def test_models_without_the_precision_name_the_command_that_writes_it(
    models_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build-engines", "--precision", "int8"]) == EngineError.exit_code
    error = capsys.readouterr().err
    assert str(models_folder / "int8") in error and "trt_engines quantise" in error


@pytest.mark.usefixtures("models_folder")
def test_without_a_gpu_this_machine_is_no_target(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_driver(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    assert main(["build"]) == EngineError.exit_code
    assert "no GPU can be used" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["orin-nano-jp6", "orin-nano-jp7"])
@pytest.mark.usefixtures("models_folder")
def test_a_jetson_s_engines_are_refused_here_with_the_way_to_build_them_there(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--target", target]) == EngineError.exit_code
    error = capsys.readouterr().err
    assert "compute capability 8.7" in error and "cannot import tensorrt" in error
    assert "--onnx-only" in error and "flow-sensor build-engines" in error


def test_the_two_jetpacks_are_told_apart_by_their_tensorrt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        tensorrt_vendor,
        "vendor",
        lambda *wanted: tensorrt_vendor.Vendor(None, "tensorrt", "10.3.0"),
    )
    monkeypatch.setattr(tensorrt_vendor, "compute_capability", lambda: "8.7")
    assert targets.machine("orin-nano-jp6") == Machine("tensorrt", "10.3.0", "8.7")
    with pytest.raises(EngineError, match=r"here is 10\.3\.0 and 8\.7"):
        targets.machine("orin-nano-jp7")
    monkeypatch.setattr(tensorrt_vendor, "compute_capability", lambda: "8.6")
    with pytest.raises(EngineError, match=r"here is 10\.3\.0 and 8\.6"):
        targets.machine("orin-nano-jp6")


def test_an_unknown_target_names_those_that_there_are() -> None:
    with pytest.raises(EngineError, match="no target 'orin'") as caught:
        targets.machine("orin")
    assert "orin-nano-jp6" in caught.value.remedy and "this-machine" in caught.value.remedy


@pytest.mark.parametrize(
    ("capability", "content", "problem"),
    [
        ("8.7", None, "compute capability 8.7: .*SM87"),
        ("8.6", b"not a network", r"builds no engine of age\.onnx"),
    ],
)
def test_what_the_vendor_refuses_is_an_engine_error_that_says_why(
    models_folder: Path, tmp_path: Path, capability: str, content: bytes | None, problem: str
) -> None:
    fp16 = engine_file.variant(models_folder)
    model = models.find(fp16, "age")
    network = content if content is not None else (fp16 / model.file).read_bytes()
    (tmp_path / model.file).write_bytes(network)
    with (tmp_path / model.file).open("rb") as file:
        model = models.Model(
            name="age",
            file=model.file,
            sha256=models.digest(file),
            input=model.input,
            outputs=model.outputs,
        )
    machine = Machine("tensorrt_rtx", "1.7", capability)
    with pytest.raises(EngineError, match=problem):
        tensorrt_builder.build(tmp_path, model, machine, precision="fp16")
    assert not engine_file.path(tmp_path, model).exists()


def test_progress_is_told_from_nothing_to_all(models_folder: Path, tmp_path: Path) -> None:
    fp16 = engine_file.variant(models_folder)
    parts: list[float] = []
    tensorrt_builder.build(
        fp16,
        models.find(fp16, "gender"),
        Machine("tensorrt_rtx", "1.7", "8.6"),
        precision="fp16",
        engine=tmp_path / "gender.engine",
        progress=lambda phase, part: parts.append(part),
    )
    assert parts == sorted(parts)
    assert parts[0] == 0 and parts[-1] == 1
    assert any(0 < part < 1 for part in parts)
