"""Tiny networks with foreseeable answers, run by the real engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
    return _engine(folder, graph, shape, {name: a.shape for name, a in answers.items()})


def bright_spots(folder: Path, width: int, height: int, face_px: float) -> OnnxEngine:
    """A detector for which every cell of 4 x 4 bright pixels is a frontal face of one size."""
    rows, columns = height // 4, width // 4
    outputs: dict[str, tuple[int, ...]] = {
        "heatmap": (1, 1, rows, columns),
        "size": (1, 2, rows, columns),
        "offset": (1, 2, rows, columns),
        "landmarks": (1, 10, rows, columns),
    }
    # y, x of each point as parts of the box: the eyes, the nose, the mouth's corners
    marks = (0.35, 0.3, 0.35, 0.7, 0.55, 0.5, 0.72, 0.34, 0.72, 0.66)
    constants = {
        "size": np.full(outputs["size"], np.log(face_px / 4)),
        "offset": np.zeros(outputs["offset"]),
        "landmarks": np.tile(np.reshape(marks, (1, 10, 1, 1)), (1, 1, rows, columns)),
        "white": np.array(255.0),
    }
    nodes = [
        helper.make_node(
            "Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32), name)
        )
        for name, value in constants.items()
    ]
    nodes += [
        helper.make_node("ReduceMean", ["pixels"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Div", ["cells", "white"], ["heatmap"]),
    ]
    shape = (1, 3, height, width)
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
    )
    return _engine(folder, graph, shape, outputs)


def _engine(
    folder: Path,
    graph: onnx.GraphProto,
    shape: tuple[int, int, int, int],
    outputs: dict[str, tuple[int, ...]],
) -> OnnxEngine:
    path = folder / f"{graph.name}.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    with path.open("rb") as file:
        sha256 = digest(file)
    model = Model(name=graph.name, file=path.name, sha256=sha256, input=shape, outputs=outputs)
    return OnnxEngine(folder, model)
