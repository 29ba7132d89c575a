"""Published networks → the ONNX files that the sensor runs, all with one contract for each job.

Whatever a network wants, its converted file takes f32 RGB 0-255 (B, 3, H, W) of fixed shape and
gives only what the sensor uses:

    detector    heatmap, size, offset, landmarks at a quarter of the input's resolution
    age         (B, 2): estimated age and the estimate's standard deviation, years
    gender      (B, 2): probabilities in the order of firmware.record.Gender (without unknown)
    expression  (B, 7): probabilities in the order of firmware.record.Expression

Colour order, grey, mean and scale become one 1x1 convolution in front; the order of the classes
and the reduction to years a few nodes behind. The detector is written once for each shape of
frame that a camera may give.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from firmware.errors import EngineError
from firmware.record import Expression, Gender
from firmware.vision.models import INDEX, Index, Model
from trt_engines import keras
from trt_engines.acquire import file_digest, write_atomically
from trt_engines.manifests import Input, Manifest, Output

CLASSES = {
    "gender": [gender.value for gender in Gender if gender is not Gender.UNKNOWN],
    "expression": [shown.value for shown in Expression if shown is not Expression.UNKNOWN],
}
OUTPUTS = {
    "detector": ("heatmap", "size", "offset", "landmarks"),
    "age": ("years",),
    "gender": ("gender",),
    "expression": ("expression",),
}
FRAME_SHAPES = ((16, 9), (4, 3), (1, 1), (3, 4), (9, 16))
"""Width to height of the frames that a detector is written for, portrait mounts included."""

LUMA = {"red": 0.299, "green": 0.587, "blue": 0.114}
"""ITU-R BT.601: what `cv2.COLOR_BGR2GRAY` uses."""


def read(source: Path) -> onnx.ModelProto:
    """The published network, from ONNX or Keras HDF5.

    Raises:
        EngineError: the file is neither.
    """
    if source.suffix in (".hdf5", ".h5"):
        return keras.read(source)
    try:
        model = onnx.load(source)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise EngineError(
            f"{source.name} is not an ONNX model", remedy="name an .onnx or Keras .hdf5 file"
        ) from error
    return model


def shapes(manifest: Manifest, width_px: int) -> list[tuple[int, int, int, int]]:
    """Input shapes (B, 3, H, W) to write: one, or the detector's at `width_px` for each frame."""
    given = manifest.input
    if given.multiple_of is None:
        if given.width_px is None or given.height_px is None:
            raise EngineError(
                f"manifest of {manifest.name}: no input size",
                remedy="give width_px and height_px, or multiple_of for a free size",
            )
        return [(given.batch, 3, given.height_px, given.width_px)]
    step = given.multiple_of
    # Half a row missing at the lower edge is no reason for another `step` rows.
    heights = {-round((width_px * h / w - 0.5) // -step) * step for w, h in FRAME_SHAPES}
    return [(given.batch, 3, height, width_px) for height in sorted(heights)]


def convert(
    manifest: Manifest, network: onnx.ModelProto, shape: tuple[int, int, int, int]
) -> onnx.ModelProto:
    """`network` under the product's contract, for inputs of `shape` (B, 3, H, W).

    Raises:
        EngineError: the network is not what its manifest says.
    """
    model = onnx.ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    tensors = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in tensors]
    known = {value.name for value in graph.output}
    unknown = [name for name in manifest.output.names if name not in known]
    names = OUTPUTS[manifest.name]
    if len(inputs) != 1 or unknown or len(manifest.output.names) != len(names):
        raise EngineError(
            f"{manifest.title} has {len(inputs)} inputs and the outputs {sorted(known)}",
            remedy=f"one input, and {len(names)} of its outputs in [output] names, are needed",
        )
    rename(graph, inputs[0].name, "network_input")
    del graph.input[:], graph.value_info[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape))
    graph.node.insert(0, _preprocessing(graph, manifest.input))
    for published, name in zip(manifest.output.names, names, strict=True):
        rename(graph, published, name if manifest.name == "detector" else "classes")
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    if manifest.name == "age":
        _years(graph, manifest.output)
    elif manifest.name != "detector":
        _classes(graph, manifest.output, CLASSES[manifest.name], names[0])
    strip(graph)
    model.producer_name, model.producer_version = "flow-sensor", "1"
    graph.name, model.doc_string, graph.doc_string = manifest.name, "", ""
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(
            f"{manifest.title} does not work with an input of {shape}",
            remedy="correct [input] or [output] in its manifest",
        ) from error
    del model.graph.value_info[:]
    return model


def write(
    manifests: list[tuple[Manifest, Path]], folder: Path, width_px: int, *, say: bool = False
) -> Index:
    """Convert every source into `folder` and write the index; other detector widths stay.

    Raises:
        EngineError: a source is not what its manifest says, or `folder` cannot be written.
    """
    written: list[Model] = []
    for manifest, source in manifests:
        network = read(source)
        for shape in shapes(manifest, width_px):
            model = convert(manifest, network, shape)
            free = manifest.input.multiple_of is not None
            file = f"{manifest.name}{f'-{shape[3]}x{shape[2]}' if free else ''}.onnx"
            write_atomically(folder / file, model.SerializeToString(deterministic=True))
            outputs = {value.name: _dimensions(value) for value in model.graph.output}
            sha256 = file_digest(folder / file)
            written.append(
                Model(name=manifest.name, file=file, sha256=sha256, input=shape, outputs=outputs)
            )
            if say:
                print(f"  wrote {file:24} input {'x'.join(map(str, shape)):14} {sha256[:12]}…")
    replaced = {model.file for model in written}
    index = Index(models=(*written, *_others(folder, replaced)))
    write_atomically(folder / INDEX, msgspec.json.format(msgspec.json.encode(index)) + b"\n")
    return index


def _others(folder: Path, replaced: set[str]) -> list[Model]:
    """Detectors of other widths that an earlier run left, as long as they are whole."""
    try:
        known = msgspec.json.decode((folder / INDEX).read_bytes(), type=Index).models
    except (OSError, msgspec.MsgspecError):
        return []
    return [
        model
        for model in known
        if model.file not in replaced
        and (folder / model.file).is_file()
        and file_digest(folder / model.file) == model.sha256
    ]


def _preprocessing(graph: onnx.GraphProto, given: Input) -> onnx.NodeProto:
    """pixels (RGB 0-255) → network_input: channel order, grey, mean and scale."""
    colours = np.array([_mixture(channel) for channel in given.channels], np.float32)
    if (colours == np.eye(3)).all() and not any(given.mean) and given.scale == 1:
        return helper.make_node("Identity", ["pixels"], ["network_input"])
    weight = (colours * given.scale)[:, :, None, None]
    offset = -np.array(given.mean) * given.scale
    _tensor(graph, "pixels/weight", weight)
    _tensor(graph, "pixels/offset", offset)
    return helper.make_node("Conv", ["pixels", "pixels/weight", "pixels/offset"], ["network_input"])


def _mixture(channel: str) -> list[float]:
    return [LUMA[c] if channel == "grey" else float(c == channel) for c in LUMA]


def _classes(graph: onnx.GraphProto, given: Output, wanted: list[str], name: str) -> None:
    """Published classes → the product's; classes with one label are added up."""
    if set(given.labels) != set(wanted):
        raise EngineError(
            f"manifest of {name}: labels {list(given.labels)}",
            remedy=f"use each of {wanted}, in the network's order, once or more",
        )
    order = np.array([[label == word for word in wanted] for label in given.labels], np.float32)
    _tensor(graph, f"{name}/order", order)
    graph.node.append(helper.make_node("MatMul", ["classes", f"{name}/order"], [name]))


def _years(graph: onnx.GraphProto, given: Output) -> None:
    """Probabilities of years → expected age and standard deviation."""
    if not given.labels or any(isinstance(label, str) for label in given.labels):
        raise EngineError("manifest of age: labels are not years", remedy="give years as numbers")
    years = np.array(given.labels, np.float64)
    _tensor(graph, "years/moments", np.stack([years, years**2], axis=1))
    _tensor(graph, "years/parts", np.array([1, 1]), np.int64)
    graph.node.extend(
        (
            helper.make_node("MatMul", ["classes", "years/moments"], ["moments"]),
            helper.make_node("Split", ["moments", "years/parts"], ["mean", "square"], axis=1),
            helper.make_node("Mul", ["mean", "mean"], ["mean_squared"]),
            helper.make_node("Sub", ["square", "mean_squared"], ["difference"]),
            helper.make_node("Relu", ["difference"], ["variance"]),
            helper.make_node("Sqrt", ["variance"], ["deviation"]),
            helper.make_node("Concat", ["mean", "deviation"], ["years"], axis=1),
        )
    )


def _tensor(
    graph: onnx.GraphProto, name: str, value: NDArray[np.generic], kind: type = np.float32
) -> None:
    graph.initializer.append(numpy_helper.from_array(value.astype(kind), name))


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def strip(graph: onnx.GraphProto) -> None:
    """Drop every node and tensor that no output needs."""
    needed = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(tensors)


def _dimensions(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
