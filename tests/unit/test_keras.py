"""Keras HDF5 → ONNX, against a plain numpy reading of the same layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray

from firmware.errors import EngineError
from trt_engines import keras

Floats = NDArray[np.float32]
SAME = {"padding": "same", "strides": [1, 1]}
RANDOM = np.random.default_rng(7)


def layer(kind: str, name: str, sources: tuple[str, ...] = (), **config: Any) -> dict[str, Any]:
    inbound = [[[source, 0, 0, {}] for source in sources]] if sources else []
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": inbound}


LAYERS = [
    layer("InputLayer", "in", batch_input_shape=[None, 10, 10, 1]),
    layer(
        "Conv2D",
        "conv",
        ("in",),
        kernel_size=[3, 3],
        use_bias=False,
        padding="valid",
        strides=[1, 1],
    ),
    layer("BatchNormalization", "norm", ("conv",), epsilon=0.001),
    layer("Activation", "relu", ("norm",), activation="relu"),
    layer("SeparableConv2D", "apart", ("relu",), kernel_size=[3, 3], use_bias=False, **SAME),
    layer("BatchNormalization", "apart_norm", ("apart",), epsilon=0.001),
    layer(
        "MaxPooling2D", "pool", ("apart_norm",), pool_size=[3, 3], padding="same", strides=[2, 2]
    ),
    layer(
        "Conv2D",
        "side",
        ("relu",),
        kernel_size=[1, 1],
        use_bias=False,
        padding="same",
        strides=[2, 2],
    ),
    layer("BatchNormalization", "side_norm", ("side",), epsilon=0.001),
    layer("Add", "both", ("pool", "side_norm")),
    layer("Conv2D", "last", ("both",), kernel_size=[3, 3], use_bias=True, **SAME),
    layer("GlobalAveragePooling2D", "mean", ("last",)),
    layer("Activation", "out", ("mean",), activation="softmax"),
]
KERNELS: dict[str, dict[str, tuple[int, ...]]] = {
    "conv": {"kernel": (3, 3, 1, 4)},
    "apart": {"depthwise_kernel": (3, 3, 4, 1), "pointwise_kernel": (1, 1, 4, 6)},
    "side": {"kernel": (1, 1, 4, 6)},
    "last": {"kernel": (3, 3, 6, 3), "bias": (3,)},
    **{
        name: dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (size,))
        for name, size in (("norm", 4), ("apart_norm", 6), ("side_norm", 6))
    },
}
WEIGHTS: dict[str, dict[str, Floats]] = {
    name: {
        weight: RANDOM.uniform(0.1, 1.0, shape).astype(np.float32)
        * RANDOM.choice([-1, 1] if weight != "moving_variance" else [1], shape).astype(np.float32)
        for weight, shape in weights.items()
    }
    for name, weights in KERNELS.items()
}


def write(path: Path, layers: list[dict[str, Any]] = LAYERS) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})
        for name, weights in WEIGHTS.items():
            for weight, value in weights.items():
                file[f"model_weights/{name}/{name}_1/{weight}:0"] = value
    return path


def windows(picture: Floats, size: int, stride: int, padding: str, fill: float) -> Floats:
    """(h, w, c) → (rows, columns, size, size, c), padded as TensorFlow does."""
    if padding == "same":
        sides = []
        for extent in picture.shape[:2]:
            missing = max((-(-extent // stride) - 1) * stride + size - extent, 0)
            sides.append((missing // 2, missing - missing // 2))
        picture = np.pad(picture, [*sides, (0, 0)], constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(picture, (size, size), axis=(0, 1))
    return view[::stride, ::stride].transpose(0, 1, 3, 4, 2)


def normalised(name: str, x: Floats) -> Floats:
    w = WEIGHTS[name]
    spread = np.sqrt(w["moving_variance"] + 0.001)
    return np.asarray((x - w["moving_mean"]) / spread * w["gamma"] + w["beta"], np.float32)


def expected(picture: Floats) -> Floats:
    conv, apart = WEIGHTS["conv"]["kernel"], WEIGHTS["apart"]
    x = np.einsum("rcijk,ijko->rco", windows(picture, 3, 1, "valid", 0), conv)
    relu = np.maximum(normalised("norm", x), 0)
    each = windows(relu, 3, 1, "same", 0)
    x = np.einsum("rcijk,ijk->rck", each, apart["depthwise_kernel"][..., 0])
    x = normalised("apart_norm", x @ apart["pointwise_kernel"][0, 0])
    pool = windows(x, 3, 2, "same", -np.inf).max(axis=(2, 3))
    side = normalised("side_norm", relu[::2, ::2] @ WEIGHTS["side"]["kernel"][0, 0])
    last = windows(np.asarray(pool + side, np.float32), 3, 1, "same", 0)
    x = np.einsum("rcijk,ijko->rco", last, WEIGHTS["last"]["kernel"]) + WEIGHTS["last"]["bias"]
    grown = np.exp(x.mean(axis=(0, 1)))
    return np.asarray(grown / grown.sum(), np.float32)


def test_every_kind_of_layer_computes_what_keras_computes(tmp_path: Path) -> None:
    model = keras.read(write(tmp_path / "net.hdf5"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    picture = RANDOM.uniform(-1, 1, (10, 10, 1)).astype(np.float32)
    (given,) = session.run(None, {"in": picture.transpose(2, 0, 1)[None]})
    np.testing.assert_allclose(given[0], expected(picture), rtol=1e-4)


@pytest.mark.parametrize(
    "layers",
    [
        [LAYERS[0], layer("LSTM", "memory", ("in",))],
        [LAYERS[0], layer("Activation", "odd", ("in",), activation="swish")],
        [LAYERS[0], layer("BatchNormalization", "norm", ("in",), epsilon=0.001)],
        [LAYERS[0], {**LAYERS[1], "name": "without_weights"}],
        [],
    ],
    ids=["layer", "activation", "normalisation without convolution", "weights", "no layers"],
)
def test_what_cannot_be_converted_is_refused(tmp_path: Path, layers: list[dict[str, Any]]) -> None:
    with pytest.raises(EngineError, match=r"net\.hdf5") as caught:
        keras.read(write(tmp_path / "net.hdf5", layers))
    assert "ONNX" in caught.value.remedy
