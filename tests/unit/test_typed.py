"""fp16 written into the networks, and fp32 kept where a manifest says so."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from firmware import engine_file
from firmware.errors import EngineError
from firmware.vision import models
from firmware.vision.models import Index, Model
from trt_engines import manifests, typed
from trt_engines.acquire import file_digest
from trt_engines.rounded import rounded


def network() -> onnx.ModelProto:
    """mean = x @ w, square = mean * mean, years = square - mean: two steps after `mean`."""
    nodes = [
        helper.make_node("MatMul", ["pixels", "weight"], ["mean"]),
        helper.make_node("Mul", ["mean", "mean"], ["square"]),
        helper.make_node("Sub", ["square", "offset"], ["years"]),
    ]
    graph = helper.make_graph(
        nodes,
        "age",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("years", TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(np.array([[1, 0], [0, 1 / 3]], np.float32), "weight"),
            numpy_helper.from_array(np.array([0.1, 0.1], np.float32), "offset"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def answer(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """By ONNX's own reference, which computes fp16 as fp16."""
    (result,) = ReferenceEvaluator(model).run(["years"], {"pixels": pixels})
    return np.asarray(result, np.float32)


def on_runtime(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"pixels": pixels})[0], np.float32)


PIXELS = np.array([[63.0, 3.0]], np.float32)


def test_all_of_a_network_becomes_fp16_between_f32_input_and_output() -> None:
    half = typed.half(network(), "")
    assert {tensor.data_type for tensor in half.graph.initializer} == {TensorProto.FLOAT16}
    assert [node.op_type for node in half.graph.node] == ["Cast", "MatMul", "Mul", "Sub", "Cast"]
    for value in (*half.graph.input, *half.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    # 63² - 0.1 = 3968.9 has no fp16: its neighbours are 2 apart.
    assert answer(half, PIXELS)[0, 0] == 3968


def test_what_is_computed_from_a_named_tensor_stays_in_fp32() -> None:
    kept = typed.half(network(), "mean")
    types = {tensor.name: tensor.data_type for tensor in kept.graph.initializer}
    assert types == {"weight": TensorProto.FLOAT16, "offset": TensorProto.FLOAT}
    # One cast down at the input, one up at `mean`: none between the two steps in fp32.
    assert [node.op_type for node in kept.graph.node] == ["Cast", "MatMul", "Cast", "Mul", "Sub"]
    assert answer(kept, PIXELS)[0, 0] == pytest.approx(3968.9, abs=1e-3)


@pytest.mark.parametrize("kept", ["", "mean"])
def test_fp16_rounded_by_arithmetic_gives_on_the_runtime_what_fp16_gives(kept: str) -> None:
    published = network()
    typed.free_batch(published)
    half = typed.half(published, kept)
    random = np.random.default_rng(5)
    pixels = random.uniform(-200, 200, (500, 2)).astype(np.float32)
    rounded_here = on_runtime(rounded(half), pixels)
    np.testing.assert_array_equal(rounded_here, answer(half, pixels))
    if not kept:
        # The runtime itself leaves the rounding out, which is why `rounded` exists.
        assert not np.array_equal(on_runtime(half, pixels), answer(half, pixels))


def test_a_network_that_is_kept_whole_stays_as_it_is() -> None:
    kept = typed.half(network(), "pixels")
    assert [node.op_type for node in kept.graph.node] == ["MatMul", "Mul", "Sub"]
    assert {tensor.data_type for tensor in kept.graph.initializer} == {TensorProto.FLOAT}


def test_a_tensor_that_is_not_there_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(EngineError, match="no tensor 'clases'") as caught:
        typed.half(network(), "clases")
    assert "[fp16] fp32_from" in caught.value.remedy


def index(folder: Path) -> Model:
    onnx.save(network(), folder / "age.onnx")
    model = Model(
        name="age",
        file="age.onnx",
        sha256=file_digest(folder / "age.onnx"),
        input=(1, 3, 8, 8),
        outputs={"years": (1, 2)},
    )
    (folder / models.INDEX).write_bytes(msgspec.json.encode(Index(models=(model,))))
    return model


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_each_precision_is_a_folder_of_models_with_an_index_of_its_own(
    tmp_path: Path, precision: engine_file.Precision
) -> None:
    model = index(tmp_path)
    loaded = manifests.load()
    written = typed.write(
        tmp_path,
        precision,
        {"age": msgspec.structs.replace(loaded["age"], fp16=manifests.Half(fp32_from="mean"))},
    )
    folder = engine_file.variant(tmp_path, precision)
    (found,) = models.index(folder).models
    assert (found,) == written.models
    assert found.sha256 != model.sha256
    with models.opened(folder, found) as file:
        saved = onnx.load(file)
    assert saved.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert saved.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    halves = [t.name for t in saved.graph.initializer if t.data_type == TensorProto.FLOAT16]
    assert halves == (["weight"] if precision == "fp16" else [])
    # Nothing else changed: several faces at once give what each gives alone.
    smaller = (PIXELS / 2).astype(np.float32)
    both = answer(saved, np.concatenate([PIXELS, smaller]))
    alone = answer(saved, smaller)
    np.testing.assert_array_equal(both[1:], alone)


def test_what_costs_accuracy_in_fp16_is_named_with_the_reason() -> None:
    kept = {name: manifest.fp16.fp32_from for name, manifest in manifests.load().items()}
    assert kept == {"detector": "pixels", "age": "logits", "gender": "", "expression": ""}
    for manifest in manifests.load().values():
        assert bool(manifest.fp16.fp32_from) == bool(manifest.fp16.reason)
