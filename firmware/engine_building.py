"""`flow-sensor build-engines`: what this machine's TensorRT has to build before the sensor runs.

An engine fits one version of TensorRT and one kind of GPU, so a device builds its own: at first
boot, and again after an update of JetPack or of the models. It is a program of its own because
vision may write no file and the supervisor sees no GPU; the sensor starts when it has ended.
"""

from __future__ import annotations

import sys
import time

from firmware import engine_file
from firmware.drivers import tensorrt_builder, tensorrt_vendor
from firmware.engine_file import PRECISION, EngineFile, Precision
from firmware.errors import EngineError
from firmware.settings import Settings
from firmware.vision import models
from firmware.vision.models import Model

_EVERY_S = 10.0
"""A log gets a line of progress so often; a terminal gets each step."""


def rebuild(
    settings: Settings, precision: Precision = PRECISION, *, every: bool = False
) -> list[EngineFile]:
    """Build those engines that are missing or do not fit this machine or their model.

    Args:
        every: for all shapes of frames, not only for the one of `[source]`.

    Returns: what was built.

    Raises:
        EngineError: there are no models to build from, no TensorRT, no GPU, or it refuses.
    """
    folder = engine_file.variant(models.directory(settings.models.directory), precision)
    if not (folder / models.INDEX).is_file():
        command = (
            "quantise" if precision == "int8" else f"build --onnx-only --precision {precision}"
        )
        raise EngineError(
            f"there are no {precision} models in {folder}",
            remedy=f"run `python -m trt_engines {command}` where the models are converted, and "
            "bring the folder here",
        )
    machine = tensorrt_vendor.machine()
    source = settings.source
    wanted = list(models.index(folder).models)
    if not every:
        wanted = models.chosen(folder, settings, (source.width_px, source.height_px))
    built = []
    for model in wanted:
        place = engine_file.path(folder, model)
        try:
            engine_file.read(place, model, machine)
        except EngineError as error:
            print(f"build {place.name}: {error.problem}", flush=True)
            line = Line(model)
            about = tensorrt_builder.build(
                folder, model, machine, precision=precision, progress=line.show
            )
            line.end(about)
            built.append(about)
        else:
            print(f"have  {place.name}", flush=True)
    return built


class Line:
    """Progress of one build: one line on a terminal, a few in a log."""

    def __init__(self, model: Model) -> None:
        self._name = model.file
        self._terminal = sys.stdout.isatty()
        self._shown_at_s = time.monotonic()

    def show(self, phase: str, part: float) -> None:
        if self._terminal:
            print(f"\r      {self._name:24} {phase} {part:4.0%} ", end="", flush=True)
        elif time.monotonic() - self._shown_at_s >= _EVERY_S:
            self._shown_at_s = time.monotonic()
            print(f"      {self._name:24} {phase} {part:4.0%}", flush=True)

    def end(self, about: EngineFile) -> None:
        start = "\r" if self._terminal else ""
        print(
            f"{start}built {self._name:24} {about.precision} {about.builder} "
            f"{about.builder_version} {about.compute_capability}: {about.bytes:,} bytes in "
            f"{about.build_s:.1f} s",
            flush=True,
        )
