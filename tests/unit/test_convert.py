"""Converted networks: one contract for each job, whatever the published network wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from firmware.errors import EngineError
from firmware.vision import models
from trt_engines import convert
from trt_engines.manifests import Input, Job, Manifest, Output, Source

SOURCE = Source(file="net.onnx", sha256="0" * 64, licence="CC0-1.0")
RGB = Input(channels=("red", "green", "blue"), width_px=8, height_px=8, mean=(0.0,) * 3, scale=1.0)


def manifest(name: Job, given: Input = RGB, **output: Any) -> Manifest:
    kept = Output(**{"names": ("out",), **output})
    return Manifest(name=name, title=f"test {name}", source=SOURCE, input=given, output=kept)


def network(classes: int, channels: int = 3, batch: str | int = "N") -> onnx.ModelProto:
    """Class c gives the mean of its input's channel c modulo channels; a second output unused."""
    weight = np.array([np.eye(channels)[c % channels] for c in range(classes)], np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["in"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["out"]),
        helper.make_node("Mul", ["flat", "unused"], ["descriptor"]),
    ]
    graph = helper.make_graph(
        nodes,
        "published",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [batch, channels, 8, 8])],
        [
            helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, classes]),
            helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, [batch, channels]),
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(weight.T), "weight"),
            numpy_helper.from_array(np.ones(channels, np.float32), "unused"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def answer(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"pixels": pixels})[0], np.float32)


def plain(red: float, green: float, blue: float, batch: int = 1) -> NDArray[np.float32]:
    colours = np.array([red, green, blue], np.float32)[None, :, None, None]
    return np.ascontiguousarray(np.broadcast_to(colours, (batch, 3, 8, 8)))


def fixed(model: onnx.ModelProto) -> list[int]:
    (given,) = model.graph.input
    return [dimension.dim_value for dimension in given.type.tensor_type.shape.dim]


@pytest.mark.parametrize(
    ("channels", "mean", "scale", "expected"),
    [
        (("red", "green", "blue"), (0.0, 0.0, 0.0), 1.0, (200, 100)),
        (("blue", "green", "red"), (0.0, 0.0, 0.0), 1.0, (50, 100)),
        (("red", "green", "blue"), (122.0, 117.0, 104.0), 1 / 256, (78 / 256, -17 / 256)),
        # 0.299 · 200 + 0.587 · 100 + 0.114 · 50 = 124.2
        (("grey",), (127.5,), 1 / 127.5, (124.2 / 127.5 - 1,) * 2),
    ],
    ids=["as it is", "blue first", "mean and scale", "grey"],
)
def test_what_a_network_wants_is_made_of_rgb(
    channels: Any, mean: Any, scale: float, expected: tuple[float, float]
) -> None:
    given = msgspec.structs.replace(RGB, channels=channels, mean=mean, scale=scale)
    described = manifest("gender", given, labels=("female", "male"))
    model = convert.convert(described, network(2, len(channels)), (1, 3, 8, 8))
    np.testing.assert_allclose(answer(model, plain(200, 100, 50))[0], expected, rtol=1e-4)


def test_classes_come_in_the_order_of_the_record() -> None:
    described = manifest("gender", labels=("male", "female"))
    model = convert.convert(described, network(2), (1, 3, 8, 8))
    np.testing.assert_allclose(answer(model, plain(200, 100, 50)), [[100, 200]], rtol=1e-5)


def test_classes_with_one_label_are_added_up() -> None:
    labels = ("happy", "neutral", "angry", "sad", "fear", "disgust", "surprise", "angry")
    model = convert.convert(manifest("expression", labels=labels), network(8), (1, 3, 8, 8))
    # channels by class: r g b r g b r g; wanted: angry disgust fear happy neutral sad surprise
    expected = [[50 + 100, 50, 100, 200, 100, 200, 200]]
    np.testing.assert_allclose(answer(model, plain(200, 100, 50)), expected, rtol=1e-5)


def test_ages_become_their_mean_and_deviation() -> None:
    model = convert.convert(manifest("age", labels=(20, 40, 70)), network(3), (1, 3, 8, 8))
    years, deviation = answer(model, plain(0.5, 0.25, 0.25))[0]
    assert years == pytest.approx(37.5)
    expected = np.sqrt(0.5 * 17.5**2 + 0.25 * 2.5**2 + 0.25 * 32.5**2)
    assert deviation == pytest.approx(expected, rel=1e-4)


def test_a_certain_age_has_no_deviation_and_not_a_root_of_less_than_nothing() -> None:
    model = convert.convert(manifest("age", labels=(0.25, 33, 70)), network(3), (1, 3, 8, 8))
    assert answer(model, plain(0, 1, 0))[0].tolist() == [33, 0]
    assert answer(model, plain(0, 1.001, 0))[0, 1] == 0


def test_the_shape_is_fixed_and_unused_outputs_are_stripped() -> None:
    described = manifest("gender", labels=("female", "male"))
    model = convert.convert(described, network(2), (4, 3, 8, 8))
    assert fixed(model) == [4, 3, 8, 8]
    assert [value.name for value in model.graph.output] == ["gender"]
    assert "unused" not in {tensor.name for tensor in model.graph.initializer}
    assert answer(model, plain(1, 2, 3, batch=4)).shape == (4, 2)


@pytest.mark.parametrize(
    ("described", "published"),
    [
        (manifest("gender", labels=("female", "other")), network(2)),
        (manifest("gender", labels=("female",)), network(2)),
        (manifest("gender", names=("gone",), labels=("female", "male")), network(2)),
        (manifest("gender", labels=("female", "male", "male")), network(2)),
        (manifest("age", labels=("young", "old")), network(2)),
        (manifest("age"), network(2)),
        (manifest("detector"), network(2)),
        (manifest("gender", labels=("female", "male")), network(2, channels=1)),
    ],
    ids=[
        "unknown label",
        "missing label",
        "missing output",
        "more labels than classes",
        "ages in words",
        "no ages",
        "too few outputs",
        "other channels",
    ],
)
def test_a_network_that_is_not_what_its_manifest_says_is_refused(
    described: Manifest, published: onnx.ModelProto
) -> None:
    with pytest.raises(EngineError):
        convert.convert(described, published, (1, 3, 8, 8))


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("net.onnx", "net.hdf5"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EngineError, match=name):
            convert.read(tmp_path / name)


def test_a_detector_is_written_for_frames_of_every_shape() -> None:
    free = msgspec.structs.replace(RGB, width_px=None, height_px=None, multiple_of=32)
    sizes = convert.shapes(manifest("detector", free), 448)
    assert [(w, h) for _, _, h, w in sizes] == [
        (448, 256),
        (448, 352),
        (448, 448),
        (448, 608),
        (448, 800),
    ]
    assert (1, 3, 384, 640) in convert.shapes(manifest("detector", free), 640)


def test_converting_again_gives_the_same_digests_and_keeps_other_widths(tmp_path: Path) -> None:
    heads = ("heatmap", "size", "offset", "landmarks")
    nodes = [
        helper.make_node("AveragePool", ["in"], [name], kernel_shape=[4, 4], strides=[4, 4])
        for name in heads
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in heads]
    entry = helper.make_tensor_value_info("in", TensorProto.FLOAT, [10, 3, 32, 32])
    graph = helper.make_graph(nodes, "published", [entry], values)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "net.onnx")
    free = msgspec.structs.replace(RGB, width_px=None, height_px=None, multiple_of=32)
    given = [(manifest("detector", free, names=heads), tmp_path / "net.onnx")]
    folder = tmp_path / "models"
    first = convert.write(given, folder, 448)
    assert convert.write(given, folder, 448) == first == models.index(folder)
    convert.write(given, folder, 320)
    (folder / "detector-448x352.onnx").write_bytes(b"damaged")
    kept = {model.file for model in convert.write(given, folder, 320).models}
    assert {"detector-320x192.onnx", "detector-448x256.onnx"} <= kept
    assert "detector-448x352.onnx" not in kept
    found = models.find_detector(folder, width_px=320, frame_px=(1280, 720))
    assert found.outputs["heatmap"] == (1, 3, 48, 80)
