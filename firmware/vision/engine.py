"""What vision needs of an inference engine; `firmware/drivers/*_engine.py` implement it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Shaped(Protocol):
    """An array of this process, or one on a GPU."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class Engine(Protocol):
    """One network over buffers of fixed shapes that vision owns and wipes.

    What goes in and out is the same whatever network does the job (`trt_engines/convert.py`):

        detector    1 picture → heatmap (1, 1, h, w), size (1, 2, h, w), offset (1, 2, h, w),
                    landmarks (1, 10, h, w) at a quarter of the input's resolution
        age         B face chips → (B, 2): estimated age and its standard deviation, years
        gender      B face chips → (B, 2): probabilities of female, male
        expression  B faces → (B, 7): probabilities in the order of `record.Expression`

    Attributes:
        name: the model's name, as in its manifest (`detector`, `age`, `gender`, `expression`).
        input: f32, the engine's whole input batch (B, 3, H, W), RGB 0 … 255; a `Sampler`
            (`firmware/vision/sampling.py`) writes it in place before `run`.
        outputs: f32 arrays in the order of the manifest, overwritten by every `run`.
    """

    name: str
    outputs: tuple[NDArray[np.float32], ...]

    @property
    def input(self) -> Shaped: ...

    def run(self, rows: int = 0) -> None:
        """Infer from `input` into `outputs`.

        Args:
            rows: how many rows of the batch were written, from the first; 0: all. What stands in
                the other rows of `outputs` means nothing.

        Raises:
            EngineError: the vendor's runtime failed; vision is then replaced.
        """

    def scrub(self) -> None:
        """Zero `input`, run once so that activations hold zeros' results, zero `outputs`."""

    def close(self) -> None:
        """Release the vendor's objects. Idempotent."""
