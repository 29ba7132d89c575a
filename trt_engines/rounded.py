"""fp16 as a GPU computes it, on a CPU: every tensor rounded to fp16 between the layers.

ONNX Runtime's CPU has few fp16 kernels. It computes an fp16 network in fp32 and takes out the casts
between the layers, whatever the optimisation level, so that only the weights are rounded. Here the
same network is written in fp32 with its weights rounded to fp16, and each result rounded by
arithmetic that no optimiser takes out (Veltkamp's splitting, in Dekker, "A floating-point technique
for extending the available precision", 1971: multiplied by 2^13 + 1, fp32's 24 bits split after
fp16's 11). Sums inside a layer stay in fp32, as in TensorRT's usual kernels. Results below fp16's
normal numbers (6e-5) keep more bits than they would have, and those above its largest (65,504) do
not become infinite.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SPLITTER = 2.0**13 + 1
_EXACT = {
    "Relu",
    "MaxPool",
    "Flatten",
    "Pad",
    "Identity",
    "Reshape",
    "Transpose",
    "Split",
    "Concat",
}
"""These only pass on what was rounded before."""


def rounded(half: onnx.ModelProto) -> onnx.ModelProto:
    """The network of an fp16 file in fp32 arithmetic that gives fp16's results."""
    typed = onnx.shape_inference.infer_shapes(half)
    halves = {
        value.name
        for value in typed.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    model = onnx.ModelProto()
    model.CopyFrom(half)
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            weights = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    nodes = list(graph.node)
    del graph.node[:]
    graph.initializer.append(numpy_helper.from_array(np.array(_SPLITTER, np.float32), "splitter"))
    for node in nodes:
        exact = node.op_type in _EXACT
        if node.op_type == "Cast":
            node.CopyFrom(helper.make_node("Identity", node.input, node.output))
        roundings = []
        for place, name in enumerate(node.output):
            if name in halves and not exact:
                node.output[place] = f"{name}/exact"
                roundings += _rounding(f"{name}/exact", name)
        graph.node.extend([node, *roundings])
    onnx.checker.check_model(model)
    return model


def _rounding(exact: str, name: str) -> list[onnx.NodeProto]:
    """name = high - (high - exact) where high = splitter * exact."""
    return [
        helper.make_node("Mul", [exact, "splitter"], [f"{name}/high"]),
        helper.make_node("Sub", [f"{name}/high", exact], [f"{name}/low"]),
        helper.make_node("Sub", [f"{name}/high", f"{name}/low"], [name]),
    ]
