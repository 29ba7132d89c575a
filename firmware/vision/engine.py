"""What vision needs of an inference engine; `firmware/drivers/*_engine.py` implement it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """One network with fixed shapes over buffers that vision owns and wipes.

    What goes in and out is the same whatever network does the job (`trt_engines/convert.py`):

        detector    1 picture → heatmap (1, 1, h, w), size (1, 2, h, w), offset (1, 2, h, w),
                    landmarks (1, 10, h, w) at a quarter of the input's resolution
        age         B face chips → (B, 2): estimated age and its standard deviation, years
        gender      B face chips → (B, 2): probabilities of female, male
        expression  B faces → (B, 7): probabilities in the order of `record.Expression`

    Attributes:
        name: the model's name, as in its manifest (`detector`, `age`, `gender`, `expression`).
        input: f32, the engine's whole input batch (B, 3, H, W), RGB 0 … 255; written in place
            before `run`.
        outputs: f32 arrays in the order of the manifest, overwritten by every `run`.
    """

    name: str
    input: NDArray[np.float32]
    outputs: tuple[NDArray[np.float32], ...]

    def run(self) -> None:
        """Infer from `input` into `outputs`.

        Raises:
            EngineError: the vendor's runtime failed; vision is then replaced.
        """

    def scrub(self) -> None:
        """Zero `input`, run once so that activations hold zeros' results, zero `outputs`."""

    def close(self) -> None:
        """Release the vendor's objects. Idempotent."""
