"""Converted models → the same networks with their precision written into the ONNX file.

TensorRT's networks are strongly typed: a tensor's type says what it is computed in, in JetPack's
TensorRT 10, in TensorRT 11 and in TensorRT-RTX alike. So fp16 is made here, where ONNX Runtime can
judge it, and no builder flag changes a number afterwards. Inputs and outputs stay f32. The
attribute networks take any number of faces at once; the detector takes one frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import onnx
from onnx import TensorProto

# The wheels collect telemetry and write it under ~/.cache unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from onnxruntime.transformers.float16 import (  # type: ignore[import-untyped]
    convert_float_to_float16,
)

from firmware.engine_file import Precision, variant
from firmware.errors import EngineError
from firmware.vision import models
from firmware.vision.models import INDEX, Index, Model
from trt_engines.acquire import file_digest, write_atomically
from trt_engines.convert import rename, strip
from trt_engines.manifests import Job, Manifest

Step = Callable[[onnx.ModelProto, Model], onnx.ModelProto]


def write(
    folder: Path,
    precision: Precision,
    manifests: Mapping[Job, Manifest],
    *,
    say: bool = False,
) -> Index:
    """Write every model of `folder` in `precision` into its `variant` folder, with an index.

    Raises:
        EngineError: a model was not converted, was altered, or cannot be typed.
    """

    kept = {str(name): manifest.fp16.fp32_from for name, manifest in manifests.items()}

    def typed(network: onnx.ModelProto, model: Model) -> onnx.ModelProto:
        keep = kept[model.name]
        return network if precision == "fp32" else half(network, keep)

    return rewrite(folder, variant(folder, precision), typed, say=say)


def rewrite(folder: Path, target: Path, step: Step, *, say: bool = False) -> Index:
    """Pass every model of `folder` through `step`, with a free batch, into the folder `target`."""
    written: list[Model] = []
    for model in models.index(folder).models:
        with models.opened(folder, model) as file:
            network = onnx.load(file)
        if model.name != "detector":
            free_batch(network)
        content = step(network, model).SerializeToString(deterministic=True)
        write_atomically(target / model.file, content)
        sha256 = file_digest(target / model.file)
        written.append(msgspec.structs.replace(model, sha256=sha256))
        if say:
            print(f"  typed {target.name:5} {model.file:24} {len(content):10,} bytes")
    index = Index(models=tuple(written))
    write_atomically(target / INDEX, msgspec.json.format(msgspec.json.encode(index)) + b"\n")
    return index


def free_batch(network: onnx.ModelProto) -> None:
    """Let the first dimension of every input and output be any number."""
    for value in (*network.graph.input, *network.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def half(network: onnx.ModelProto, fp32_from: str) -> onnx.ModelProto:
    """`network` in fp16, but for what is computed from the tensor `fp32_from` on; empty: all.

    Raises:
        EngineError: there is no such tensor.
    """
    kept = after(network.graph, fp32_from) if fp32_from else []
    if fp32_from and not kept:
        raise EngineError(
            f"{network.graph.name} has no tensor {fp32_from!r}",
            remedy="correct [fp16] fp32_from in its manifest",
        )
    converted: onnx.ModelProto = convert_float_to_float16(
        network, keep_io_types=True, node_block_list=kept
    )
    del converted.graph.value_info[:]
    _join(converted.graph)
    _sort(converted.graph)
    strip(converted.graph)
    onnx.checker.check_model(converted)
    return converted


def after(graph: onnx.GraphProto, tensor: str) -> list[str]:
    """Names of the nodes that need `tensor`; a node without a name gets its first output's."""
    reached, names = {tensor}, []
    for node in graph.node:
        node.name = node.name or node.output[0]
        if reached.intersection(node.input):
            reached.update(node.output)
            names.append(node.name)
    return names


def _join(graph: onnx.GraphProto) -> None:
    """Between two nodes that stay in fp32 the converter casts to fp16 and back: undo that."""
    casts = {
        to: [n for n in graph.node if n.op_type == "Cast" and n.attribute[0].i == to]
        for to in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    halves = {node.output[0]: node.input[0] for node in casts[TensorProto.FLOAT16]}
    ends = {value.name for value in graph.output}
    for node in casts[TensorProto.FLOAT]:
        before, after = halves.get(node.input[0]), node.output[0]
        if before is None:
            continue
        node.output[0] = f"{after}/unused"
        if after in ends:
            before, after = after, before
        rename(graph, after, before)
        halves = {half: before if full == after else full for half, full in halves.items()}


def _sort(graph: onnx.GraphProto) -> None:
    """Put each node behind those that it needs: the converter leaves its casts at the end."""
    waiting = list(graph.node)
    made = {tensor.name for tensor in (*graph.input, *graph.initializer)} | {""}
    del graph.node[:]
    while waiting:
        ready = [node for node in waiting if made.issuperset(node.input)]
        if not ready:
            raise EngineError(f"{graph.name} has a cycle", remedy="use another network")
        waiting = [node for node in waiting if not made.issuperset(node.input)]
        graph.node.extend(ready)
        made.update(name for node in ready for name in node.output)
