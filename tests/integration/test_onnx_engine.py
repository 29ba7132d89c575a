"""The converted models in the real runtime, in buffers that vision owns."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from firmware.drivers import onnx_engine
from firmware.drivers.onnx_engine import OnnxEngine
from firmware.errors import EngineError
from firmware.settings import Settings
from firmware.vision import memory, models
from firmware.vision.models import Model
from hil.accuracy.labelled import read
from trt_engines.acquire import portrait

FRAME_PX = (1280, 720)


@pytest.fixture
def engines() -> Iterator[dict[str, OnnxEngine]]:
    folder = models.directory()
    loaded = onnx_engine.load(folder, *models.chosen(folder, Settings(), FRAME_PX))
    yield loaded
    for engine in loaded.values():
        engine.close()


def fill(engine: OnnxEngine) -> None:
    picture = read(portrait("astronaut"))
    rows, columns = engine.input.shape[2:]
    small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    engine.input[:] = small[:, :, ::-1].transpose(2, 0, 1)


def test_every_model_answers_in_its_own_buffers(engines: dict[str, OnnxEngine]) -> None:
    assert list(engines) == ["detector", "age", "gender", "expression"]
    for name, engine in engines.items():
        fill(engine)
        places = [output.ctypes.data for output in engine.outputs]
        engine.run()
        assert [output.ctypes.data for output in engine.outputs] == places
        assert all(np.isfinite(output).all() and output.any() for output in engine.outputs)
        owned = {id(buffer) for _, buffer in memory.buffers(f"{name}_engine")}
        assert owned == {id(engine.input), *map(id, engine.outputs)}
    assert 0 < engines["age"].outputs[0][0, 0] < 90
    for name in ("gender", "expression"):
        assert engines[name].outputs[0].sum() == pytest.approx(1, abs=1e-4)


def test_the_detector_sees_the_face_and_nothing_in_a_blank_frame(
    engines: dict[str, OnnxEngine],
) -> None:
    detector = engines["detector"]
    heatmap = detector.outputs[0]
    fill(detector)
    detector.run()
    assert heatmap.max() > 0.5
    detector.input.fill(128)
    detector.run()
    assert heatmap.max() < 0.3


def test_what_a_run_gives_depends_on_nothing_that_was_seen_before(
    engines: dict[str, OnnxEngine],
) -> None:
    for engine in engines.values():
        engine.input.fill(7)
        engine.run()
        first = [output.copy() for output in engine.outputs]
        fill(engine)
        engine.run()
        engine.scrub()
        engine.input.fill(7)
        engine.run()
        for before, after in zip(first, engine.outputs, strict=True):
            np.testing.assert_array_equal(before, after)


def test_scrubbing_runs_once_on_zeros_and_leaves_zeros(engines: dict[str, OnnxEngine]) -> None:
    for name, engine in engines.items():
        fill(engine)
        engine.run()
        engine.scrub()
        assert not any(buffer.any() for _, buffer in memory.buffers(f"{name}_engine"))


def test_scrubbing_infers_from_zeros(
    engines: dict[str, OnnxEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    engine = engines["gender"]
    run = engine.run

    def watched() -> None:
        seen.append(bool(engine.input.any()))
        run()

    monkeypatch.setattr(engine, "run", watched)
    fill(engine)
    engine.scrub()
    assert seen == [False]


def test_closing_twice_gives_the_buffers_back_once() -> None:
    folder = models.directory()
    engine = OnnxEngine(folder, models.find(folder, "gender"))
    engine.close()
    engine.close()
    assert list(memory.buffers("gender_engine")) == []
    OnnxEngine(folder, models.find(folder, "gender")).close()


@pytest.mark.parametrize("content", [b"", b"\x08\x09 not a network", None], ids=["", "text", "op"])
def test_what_the_runtime_refuses_is_an_engine_error_and_leaks_no_buffer(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is None:
        content = unknown_operator().SerializeToString()
    (tmp_path / "age.onnx").write_bytes(content)
    model = Model(
        name="age",
        file="age.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        input=(1, 3, 4, 4),
        outputs={"years": (1, 2)},
    )
    with pytest.raises(EngineError, match=r"refuses age\.onnx") as caught:
        OnnxEngine(tmp_path, model)
    assert "convert" in caught.value.remedy
    assert list(memory.buffers("age_engine")) == []


def test_an_altered_model_is_refused_and_leaks_no_buffer(tmp_path: Path) -> None:
    model = models.find(models.directory(), "gender")
    content = bytearray((models.directory() / model.file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / model.file).write_bytes(content)
    with pytest.raises(EngineError, match="altered"):
        OnnxEngine(tmp_path, model)
    assert list(memory.buffers("gender_engine")) == []


def unknown_operator() -> onnx.ModelProto:
    node = helper.make_node("NoSuchOperator", ["pixels"], ["years"])
    entry = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 4, 4])
    result = helper.make_tensor_value_info("years", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([node], "age", [entry], [result])
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


_QUIET = """
import sys, threading
from pathlib import Path
from firmware.drivers import onnx_engine
from firmware.settings import Settings
from firmware.vision import models
folder = models.directory(sys.argv[1])
engines = onnx_engine.load(folder, *models.chosen(folder, Settings(), (1280, 720)))
for engine in engines.values():
    engine.run()
loaded = {name.partition(".")[0] for name in sys.modules}
threads = len(list(Path("/proc/self/task").iterdir()))
print(loaded.isdisjoint({"onnx", "h5py", "torch"}), threads)
"""


def test_the_runtime_leaves_no_file_no_thread_and_no_build_time_library_behind(
    tmp_path: Path,
) -> None:
    """The vendor's telemetry hides when CI is set, and shows itself in a fresh HOME."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _QUIET, str(models.directory())],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["True", "1"]
    assert done.stderr == ""
    assert list(tmp_path.rglob("*")) == []
