"""A built engine on disk: `<name>.engine`, and `<name>.engine.json` that says what it is.

TensorRT loads an engine only where its own version, the kind of GPU and the vendor's library are
those it was built with, and it cannot know whether the model has changed since. So the builder
writes all of that beside the engine, and `read` refuses whatever does not match this machine and
this model before the vendor's library sees a byte of it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from firmware.errors import EngineError
from firmware.vision.models import Model

REBUILD = "run `flow-sensor build-engines` on this machine"

Precision = Literal["fp32", "fp16", "int8"]
PRECISION: Precision = "fp16"
"""What is built and loaded on a GPU unless somebody asks for another."""

Builder = Literal["tensorrt", "tensorrt_rtx"]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Machine(NamedTuple):
    """What an engine is bound to.

    Attributes:
        builder_version: as the vendor's Python module gives it, such as `10.3.0`.
        compute_capability: of the GPU, such as `8.7`.
    """

    builder: Builder
    builder_version: str
    compute_capability: str


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batch sizes that the engine takes, and the one that it was tuned for."""

    min: Count
    opt: Count
    max: Count


class EngineFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is written beside an engine.

    Attributes:
        model: `detector`, `age`, `gender` or `expression`.
        model_sha256: of the ONNX file that it was built from, as that folder's index names it.
        target: row of the builder's table that was asked for.
        inputs, outputs: shape of each f32 tensor by its name; -1 stands for the batch.
        bytes, sha256: size and digest of the engine.
        build_s: seconds that the vendor's builder took.
        build_host: architecture and operating system; never the host's name.
        built_at: UTC, ISO 8601.
    """

    version: Literal[1] = 1
    model: str
    model_sha256: Digest
    precision: Precision
    builder: Builder
    builder_version: str
    compute_capability: str
    target: str
    batch: Batch
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    bytes: Count
    sha256: Digest
    build_s: float
    build_host: str
    built_at: str


def variant(folder: Path, precision: Precision = PRECISION) -> Path:
    """Folder of the models of `folder` with that precision written into their ONNX files.

    It is a folder of models like any other: an index with digests, the files, and their engines.
    """
    return folder / precision


def path(folder: Path, model: Model) -> Path:
    """Where the engine of one of the models in `folder`, a `variant`, lies."""
    return folder / "engines" / f"{Path(model.file).stem}.engine"


def sidecar(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


def read(engine: Path, model: Model, machine: Machine) -> tuple[EngineFile, bytes]:
    """The engine at `engine`, checked against the model and the machine that it is to run on.

    Returns: what it is, and its content, with the digest that was checked.

    Raises:
        EngineError: it is missing, truncated or altered, or was built from another model, by
            another version of TensorRT or for another GPU.
    """
    about = describe(engine)
    if about.model != model.name or about.model_sha256 != model.sha256:
        raise _unfit(engine, f"was built from another model than {model.file}")
    built_with = f"{about.builder} {about.builder_version}"
    here = f"{machine.builder} {machine.builder_version}"
    if built_with != here:
        raise _unfit(engine, f"was built with {built_with}, and this machine has {here}")
    if about.compute_capability != machine.compute_capability:
        raise _unfit(
            engine,
            f"was built for a GPU of compute capability {about.compute_capability}, and this "
            f"machine's has {machine.compute_capability}",
        )
    try:
        content = engine.read_bytes()
    except OSError as error:
        raise _unfit(engine, f"cannot be read ({error.strerror})") from error
    if len(content) != about.bytes:
        raise _unfit(engine, f"has {len(content)} of {about.bytes} bytes")
    if hashlib.sha256(content).hexdigest() != about.sha256:
        raise _unfit(engine, "was altered after it was built")
    return about, content


def describe(engine: Path) -> EngineFile:
    """What is written beside an engine; the engine itself is not looked at.

    Raises:
        EngineError: nothing is, or it is damaged.
    """
    try:
        return msgspec.json.decode(sidecar(engine).read_bytes(), type=EngineFile)
    except OSError as error:
        problem = "has no description beside it" if engine.exists() else "does not exist"
        raise _unfit(engine, problem) from error
    except msgspec.MsgspecError as error:
        raise _unfit(engine, "has a damaged description beside it") from error


def write(engine: Path, content: bytes | memoryview, about: EngineFile) -> None:
    """Write an engine and its description, each whole or not at all, also when power fails.

    Raises:
        EngineError: there is no room, or no right to write there.
    """
    try:
        engine.parent.mkdir(parents=True, exist_ok=True)
        sidecar(engine).unlink(missing_ok=True)  # no old description beside a new engine
        text = msgspec.json.format(msgspec.json.encode(about)) + b"\n"
        for target, data in ((engine, content), (sidecar(engine), text)):
            partial = target.with_name(target.name + ".partial")
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
    except OSError as error:
        raise EngineError(
            f"engine {engine} cannot be written ({error.strerror})",
            remedy="make room and let this user write there",
        ) from error


def _unfit(engine: Path, problem: str) -> EngineError:
    return EngineError(f"engine {engine} {problem}", remedy=REBUILD)
