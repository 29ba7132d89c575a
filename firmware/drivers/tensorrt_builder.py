"""From an ONNX file to an engine for one kind of GPU: at a desk, and on the device at first boot.

The precision is in the ONNX file (`trt_engines/typed.py`); nothing here changes a number.
TensorRT builds only on the GPU that the engine is for; TensorRT-RTX for any that it knows, without
one.
"""

from __future__ import annotations

import datetime
import hashlib
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware import engine_file
from firmware.drivers.tensorrt_vendor import Vendor, vendor
from firmware.engine_file import REBUILD, Batch, EngineFile, Machine, Precision
from firmware.errors import EngineError
from firmware.vision import models
from firmware.vision.models import Model

Progress = Callable[[str, float], None]
"""Told the vendor's name of the outermost phase, and how much of it is done, 0 … 1."""

BATCH = Batch(1, 4, 16)
"""Of the attribute networks: one view, the views of one face, the views of several."""
WORKSPACE = 256 << 20
"""Bytes that a layer's fastest implementation may need: a Jetson shares its memory with the CPU."""


def build(
    folder: Path,
    model: Model,
    machine: Machine,
    *,
    precision: Precision,
    target: str = "this-machine",
    engine: Path | None = None,
    progress: Progress = lambda phase, part: None,
) -> EngineFile:
    """Build the engine of `model`, and write it with its description beside it.

    Args:
        folder: of models, a `engine_file.variant`; the timing cache is kept there.
        precision: what the ONNX file is typed as, for the description.
        engine: where to write it, instead of where the sensor looks for it.

    Raises:
        EngineError: the vendor's library is missing or refuses the network, the GPU is another or
            has too little memory, or there is no room for the file.
    """
    found = vendor(machine.builder)
    with models.opened(folder, model) as file:
        content = file.read()
    cache = folder / "engines" / f"{'-'.join(machine)}.timings"
    began = time.monotonic()
    attempt = _Attempt(found, machine, model, cache, progress)
    plan = attempt.run(content)
    build_s = time.monotonic() - began
    about = EngineFile(
        model=model.name,
        model_sha256=model.sha256,
        precision=precision,
        builder=machine.builder,
        builder_version=found.version,
        compute_capability=machine.compute_capability,
        target=target,
        batch=attempt.batch,
        inputs=attempt.inputs,
        outputs=attempt.outputs,
        bytes=plan.nbytes,
        sha256=hashlib.sha256(plan).hexdigest(),
        build_s=round(build_s, 3),
        build_host=f"{platform.machine()}, {_system()}",
        built_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    engine_file.write(engine or engine_file.path(folder, model), plan, about)
    return about


class _Attempt:
    """One run of the vendor's builder.

    Attributes:
        inputs, outputs: shapes by name, as the vendor's parser understood them.
        batch: as the vendor's profile has it.
    """

    def __init__(
        self, found: Vendor, machine: Machine, model: Model, cache: Path, progress: Progress
    ) -> None:
        self.trt = found.module
        self.machine = machine
        self.model = model
        self.cache = cache if machine.builder == "tensorrt" else None  # RTX measures at run time
        self.progress = progress
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.batch = Batch(1, 1, 1)
        self.complaints: list[str] = []

    def run(self, content: bytes) -> memoryview:
        """The serialized engine."""
        try:
            builder = self.trt.Builder(_logger(self.trt, self.complaints))
            network = self._network(builder, content)
            config = self._config(builder, network)
            plan = builder.build_serialized_network(network, config)
        except (RuntimeError, TypeError, AttributeError, MemoryError) as error:
            raise self._refused(f"{type(error).__name__}: {error}") from error
        if plan is None:
            raise self._refused("no engine came out")
        if self.cache:
            _keep(self.cache, config)
        return memoryview(plan)

    def _network(self, builder: Any, content: bytes) -> Any:
        typed = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(typed)
        parser = self.trt.OnnxParser(network, builder.logger)
        if not parser.parse(content):
            reasons = [parser.get_error(i).desc() for i in range(parser.num_errors)]
            raise self._refused("; ".join(reasons) or "the file cannot be parsed")
        for tensors, count, get in (
            (self.inputs, network.num_inputs, network.get_input),
            (self.outputs, network.num_outputs, network.get_output),
        ):
            for tensor in map(get, range(count)):
                tensors[tensor.name] = tuple(tensor.shape)
        return network

    def _config(self, builder: Any, network: Any) -> Any:
        config = builder.create_builder_config()
        config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, WORKSPACE)
        # fp32 means fp32: TF32 would round its products to fp16's ten bits.
        config.clear_flag(self.trt.BuilderFlag.TF32)
        config.progress_monitor = _monitor(self.trt, self.progress)
        if self.machine.builder == "tensorrt_rtx":
            name = "SM" + self.machine.compute_capability.replace(".", "")
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(self.trt.ComputeCapability, name), 0)
        for name, shape in self.inputs.items():
            if shape[0] == -1:
                profile = builder.create_optimization_profile()
                sizes = (BATCH.min, BATCH.opt, BATCH.max)
                profile.set_shape(name, *((size, *shape[1:]) for size in sizes))
                config.add_optimization_profile(profile)
                self.batch = Batch(*(size[0] for size in profile.get_shape(name)))
        if self.cache:
            known = self.cache.read_bytes() if self.cache.is_file() else b""
            config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
        return config

    def _refused(self, reason: str) -> EngineError:
        said = "; ".join(dict.fromkeys(self.complaints)) or reason
        builder, version, capability = self.machine
        return EngineError(
            f"{builder} {version} builds no engine of {self.model.file} for compute capability "
            f"{capability}: {said}",
            remedy=f"where memory or the GPU is named, free it and {REBUILD}; else use a model or "
            "a precision that this version knows",
        )


def _keep(cache: Path, config: Any) -> None:
    """What was measured on this GPU, so that the next build need not measure it again."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(memoryview(config.get_timing_cache().serialize()))


def _logger(trt: Any, complaints: list[str]) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps errors for the one that we raise; the vendor's other lines go nowhere."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, line: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                complaints.append(line)

    return Logger()


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """The vendor nests phases; whoever waits is told of the outermost."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.outermost, self.steps = "", 1

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.outermost, self.steps = name, max(steps, 1)
                progress(name, 0.0)

        def step_complete(self, name: str, step: int) -> bool:
            if name == self.outermost:
                progress(name, min((step + 1) / self.steps, 1.0))
            return True

        def phase_finish(self, name: str) -> None:
            if name == self.outermost:
                progress(name, 1.0)

    return Monitor()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
