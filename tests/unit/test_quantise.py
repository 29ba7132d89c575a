"""int8 written into a network: what becomes int8, what does not, and how near the answers stay."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trt_engines import quantise

SIDE = 8


def network(opset: int = 17) -> onnx.ModelProto:
    """pixels → first → second → mean over the picture → score, three channels all the way."""
    random = np.random.default_rng(3)
    weights = {
        name: random.normal(0, 0.5, (3, 3, 3, 3)).astype(np.float32) for name in ("one", "two")
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "one"], ["first"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["positive"]),
        helper.make_node("Conv", ["positive", "two"], ["second"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["second"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last", "bias"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "age",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 2])],
        [
            *(numpy_helper.from_array(value, name) for name, value in weights.items()),
            numpy_helper.from_array(random.normal(0, 1, (3, 2)).astype(np.float32), "last"),
            numpy_helper.from_array(np.zeros(2, np.float32), "bias"),
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def pictures(count: int, height: int = SIDE) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(4)
    shape = (1, 3, height, SIDE)
    return [random.uniform(0, 255, shape).astype(np.float32) for _ in range(count)]


def answer(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"pixels": pixels})[0], np.float32)


def int8_weights(model: onnx.ModelProto) -> set[str]:
    return {
        tensor.name.removesuffix("_quantized")
        for tensor in model.graph.initializer
        if tensor.name.endswith("_quantized") and tensor.data_type == TensorProto.INT8
    }


@pytest.mark.parametrize("opset", [9, 17])
def test_layers_but_the_first_become_int8_and_answer_nearly_the_same(opset: int) -> None:
    published = network(opset)
    quantised = quantise.quantised(published, pictures(20), "")
    onnx.checker.check_model(quantised)
    # The first layer sees 0 … 255, of which int8 around zero would keep half the steps.
    assert int8_weights(quantised) == {"two", "last"}
    zeros = [t for t in quantised.graph.initializer if t.name.endswith("_zero_point")]
    assert zeros and not any(numpy_helper.to_array(tensor).any() for tensor in zeros)
    both = np.concatenate(pictures(2))
    exact, near = answer(published, both), answer(quantised, both)
    assert near.shape == exact.shape == (2, 2)
    assert 0 < np.abs(near - exact).max() < 0.05 * np.abs(exact).max()


def test_what_a_manifest_keeps_in_fp32_is_not_quantised() -> None:
    assert int8_weights(quantise.quantised(network(), pictures(5), "flat")) == {"two"}


@pytest.mark.parametrize("height", [4, 8, 20])
def test_inputs_of_another_height_are_repeated_or_cut(height: int) -> None:
    """A detector for portrait frames is calibrated on what one for landscape frames saw."""
    quantised = quantise.quantised(network(), pictures(3, height), "")
    assert int8_weights(quantised) == {"two", "last"}
