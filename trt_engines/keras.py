"""Keras HDF5 → ONNX, for the layers that small image classifiers of Keras 2 are made of.

Weights are transposed from channels-last to ONNX's channels-first, and every batch normalisation
becomes a scale and an offset in the convolution before it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from firmware.errors import EngineError

OPSET = 17


def read(path: Path) -> onnx.ModelProto:
    """The functional model in a Keras HDF5 file, with input (1, C, H, W).

    Raises:
        EngineError: the file is no such model, or has a layer that is not supported.
    """
    try:
        with h5py.File(path, "r") as file:
            layers = json.loads(file.attrs["model_config"])["config"]["layers"]
            return _Graph(layers, file["model_weights"]).model()
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise EngineError(
            f"{path.name} is not a Keras model that can be converted ({error})",
            remedy="bring the model as ONNX instead",
        ) from error


class _Graph:
    """One pass over the layers, which Keras lists in the order in which they can be computed."""

    def __init__(self, layers: list[dict[str, Any]], weights: Any) -> None:
        self.layers = layers
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.shape: list[int] = []
        self.open: dict[str, tuple[onnx.NodeProto, onnx.TensorProto]] = {}
        """Convolutions without a bias, by output: a normalisation may still be folded in."""

    def model(self) -> onnx.ModelProto:
        for layer in self.layers:
            config, name = layer["config"], layer["name"]
            sources = [node[0] for node in layer["inbound_nodes"][0]] if self.shape else []
            match layer["class_name"]:
                case "InputLayer":
                    _, height, width, channels = config["batch_input_shape"]
                    self.shape = [1, channels, height, width]
                case "Conv2D":
                    self._convolution(name, sources, config, "kernel", config["use_bias"])
                case "SeparableConv2D":
                    spatial = f"{name}/spatial"
                    self._convolution(spatial, sources, config, "depthwise_kernel", False)
                    point = {**config, "kernel_size": [1, 1], "strides": [1, 1]}
                    self._convolution(name, [spatial], point, "pointwise_kernel", False)
                case "BatchNormalization":
                    self._normalisation(name, sources, config)
                case "Activation":
                    kind = {"relu": "Relu", "softmax": "Softmax"}[config["activation"]]
                    extra = {"axis": -1} if kind == "Softmax" else {}
                    self._node(kind, sources, name, **extra)
                case "MaxPooling2D":
                    self._node("MaxPool", sources, name, **_window(config, config["pool_size"]))
                case "Add":
                    self._node("Add", sources, name)
                case "GlobalAveragePooling2D":
                    self._node("GlobalAveragePool", sources, f"{name}/map")
                    self._node("Flatten", [f"{name}/map"], name)
                case other:
                    raise ValueError(f"layer {other}")
        graph = helper.make_graph(
            self.nodes,
            "keras",
            [helper.make_tensor_value_info(self.layers[0]["name"], TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(self.layers[-1]["name"], TensorProto.FLOAT, None)],
            self.tensors,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])

    def _node(self, kind: str, sources: list[str], name: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, sources, [name], name=name, **attributes))

    def _tensor(self, name: str, value: NDArray[np.float32]) -> str:
        self.tensors.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def _weight(self, layer: str, kind: str) -> NDArray[np.float32]:
        """Keras names a weight `layer/layer_1/kernel:0`; the inner name varies with its version."""
        found: list[NDArray[np.float32]] = []
        group = self.weights[layer]
        group.visititems(
            lambda path, item: (
                found.append(np.asarray(item)) if path.rpartition("/")[2] == f"{kind}:0" else None
            )
        )
        if len(found) != 1:
            raise ValueError(f"layer {layer} without {kind}")
        return found[0]

    def _convolution(
        self, name: str, sources: list[str], config: dict[str, Any], kind: str, bias: bool
    ) -> None:
        layer = name.partition("/")[0]
        kernel = self._weight(layer, kind).transpose(3, 2, 0, 1)
        groups = 1
        if kind == "depthwise_kernel":  # (h, w, channels, 1): each channel by itself
            kernel, groups = kernel.transpose(1, 0, 2, 3), kernel.shape[1]
        inputs = [*sources, self._tensor(f"{name}/{kind}", kernel)]
        if bias:
            inputs.append(self._tensor(f"{name}/bias", self._weight(layer, "bias")))
        window = _window(config, config["kernel_size"])
        self._node("Conv", inputs, name, group=groups, **window)
        if not bias:
            self.open[name] = self.nodes[-1], self.tensors[-1]

    def _normalisation(self, name: str, sources: list[str], config: dict[str, Any]) -> None:
        mean, variance = (self._weight(name, f"moving_{of}") for of in ("mean", "variance"))
        scale = self._weight(name, "gamma") / np.sqrt(variance + config["epsilon"])
        offset = self._weight(name, "beta") - mean * scale
        before, kernel = self.open.pop(sources[0])
        folded = numpy_helper.to_array(kernel) * scale[:, None, None, None]
        kernel.CopyFrom(numpy_helper.from_array(folded.astype(np.float32), kernel.name))
        before.input.append(self._tensor(f"{name}/offset", offset))
        before.output[0] = name


def _window(config: dict[str, Any], kernel: list[int]) -> dict[str, Any]:
    return {
        "kernel_shape": kernel,
        "strides": config["strides"],
        "auto_pad": {"same": "SAME_UPPER", "valid": "VALID"}[config["padding"]],
    }
