"""Tiny networks that answer the same whatever they see, run by the real engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from firmware.drivers.onnx_engine import OnnxEngine
from firmware.vision.models import Model, digest


def constant(
    folder: Path,
    name: str,
    shape: tuple[int, int, int, int],
    answers: Mapping[str, NDArray[Any]],
) -> OnnxEngine:
    """An engine of this name and input shape that gives these f32 outputs."""
    nodes = [
        helper.make_node("Constant", [], [output], value=numpy_helper.from_array(value))
        for output, value in answers.items()
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, value.shape)
            for output, value in answers.items()
        ],
    )
    path = folder / f"{name}.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    with path.open("rb") as file:
        sha256 = digest(file)
    outputs = {output: tuple(value.shape) for output, value in answers.items()}
    model = Model(name=name, file=path.name, sha256=sha256, input=shape, outputs=outputs)
    return OnnxEngine(folder, model)
