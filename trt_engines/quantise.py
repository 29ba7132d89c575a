"""`python -m trt_engines quantise`: int8 models, calibrated on pictures that the user supplies.

The convolutions' weights and inputs become int8 around zero, with the scales written into the ONNX
files (QDQ), as TensorRT and ONNX Runtime both take them; the first layer and what a manifest keeps
in fp32 stay as they are. The pictures should look like what the sensor will see; none is kept. What
int8 costs: `python -m trt_engines compare --precision int8`, and `python -m hil.accuracy --models`.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

# The wheels collect telemetry and write it under ~/.cache unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from firmware.engine_file import variant
from firmware.errors import ConfigError
from firmware.vision import models
from trt_engines import compare, manifests, typed
from trt_engines.acquire import locked_cache

PICTURES = 60
"""Scales come from the range of the activations, and change little after some dozens."""
MOST_INPUTS = 90
"""Of one network's, taken evenly from all: calibration keeps every activation of each in memory."""
_OPSET = 17
"""Scales for each channel of a weight came with 13; CenterFace is published in 9."""
_QUANTISED = ("Conv", "Gemm")

Inputs = Mapping[str, Sequence[NDArray[np.float32]]]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with pictures, a face in each's middle"
    )
    parser.add_argument("--limit", type=int, default=PICTURES, help=f"so many ({PICTURES})")
    parser.set_defaults(run=main)


def main(chosen: argparse.Namespace) -> int:
    cv2.setNumThreads(1)
    shown = compare.pictures(chosen.data, chosen.limit)
    print(f"quantise: calibrating on {len(shown)} pictures", flush=True)
    seen = compare.look(models.directory(), shown, every=1)
    if not seen.seen.any():
        raise ConfigError(
            f"no face is seen in the pictures of {chosen.data}",
            remedy="name a folder of pictures with a face in the middle of each",
        )
    inputs: dict[str, list[NDArray[np.float32]]] = {}
    for run in seen.runs:
        inputs.setdefault(run.name, []).append(run.input)
    target = variant(models.directory(), "int8")
    print(f"quantise: int8 models → {target}")
    kept = {str(name): m.fp16.fp32_from for name, m in manifests.load().items()}
    with locked_cache():
        typed.rewrite(
            models.directory(),
            target,
            lambda network, model: quantised(
                network, _evenly(inputs[model.name], MOST_INPUTS), kept[model.name]
            ),
            say=True,
        )
    return 0


def quantised(
    network: onnx.ModelProto, inputs: Sequence[NDArray[np.float32]], fp32_from: str
) -> onnx.ModelProto:
    """`network` with its convolutions in int8, scaled by what `inputs` (B, 3, H, W) give.

    Inputs of another height than the network's are repeated downwards or cut.
    """
    if network.opset_import[0].version < _OPSET:
        network = onnx.version_converter.convert_version(network, _OPSET)
    height = network.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    with tempfile.TemporaryDirectory() as folder, _without_warnings():
        after = Path(folder) / "int8.onnx"
        for node in network.graph.node:
            node.name = node.output[0]
        first = [node.name for node in network.graph.node if "pixels" in node.input]
        kept = typed.after(network.graph, fp32_from) if fp32_from else []
        quantize_static(
            onnx.shape_inference.infer_shapes(network),
            after,
            _Reader([_as_high(pixels, height) for pixels in inputs]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*first, *kept],
            # What TensorRT takes: zero in the middle, and a bias that stays a float.
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
            },
        )
        return onnx.load(after)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """onnxruntime asks for a preparation that fuses layers, which these networks do not need."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _as_high(pixels: NDArray[np.float32], height: int) -> NDArray[np.float32]:
    repeats = -(-height // pixels.shape[2])
    return np.ascontiguousarray(np.concatenate([pixels] * repeats, axis=2)[:, :, :height])


def _evenly(runs: list[NDArray[np.float32]], count: int) -> list[NDArray[np.float32]]:
    return [runs[i * len(runs) // count] for i in range(count)] if len(runs) > count else runs


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives each input once."""

    def __init__(self, inputs: Sequence[NDArray[np.float32]]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, Any] | None:
        return next(({"pixels": each} for each in self._left), None)
