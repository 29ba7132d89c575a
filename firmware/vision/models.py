"""The converted models on this machine: an index of files with digests, and which of them to load.

`python -m trt_engines convert` writes `models.json`; the engine drivers read it through here and
load no file whose digest differs from it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from firmware.errors import EngineError
from firmware.settings import Settings

INDEX = "models.json"
_CONVERT = "run `python -m trt_engines acquire` and `python -m trt_engines convert`"


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One converted file.

    Attributes:
        name: `detector`, `age`, `gender` or `expression`.
        input: shape (B, 3, H, W) of its f32 RGB 0-255 input.
        outputs: shapes of its f32 outputs, in order; the names are in the file.
    """

    name: str
    file: str
    sha256: str
    input: tuple[int, int, int, int]
    outputs: dict[str, tuple[int, ...]]


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: int = 1
    models: tuple[Model, ...] = ()


def cache_directory() -> Path:
    """`$FLOW_SENSOR_CACHE`, or `~/.cache/flow-sensor`."""
    chosen = os.environ.get("FLOW_SENSOR_CACHE", "")
    return Path(chosen) if chosen else Path.home() / ".cache" / "flow-sensor"


def directory(setting: str = "") -> Path:
    """Folder of the converted models for `[models] directory`; empty: the cache's."""
    return Path(setting) if setting else cache_directory() / "models"


def index(folder: Path) -> Index:
    """The index of a folder of converted models.

    Raises:
        EngineError: there is none, or it is damaged.
    """
    path = folder / INDEX
    try:
        return msgspec.json.decode(path.read_bytes(), type=Index)
    except OSError as error:
        raise EngineError(f"there are no converted models in {folder}", remedy=_CONVERT) from error
    except msgspec.MsgspecError as error:
        raise EngineError(f"model index {path} is damaged", remedy=_CONVERT) from error


def find(folder: Path, name: str) -> Model:
    """The attribute model of this name.

    Raises:
        EngineError: there is none.
    """
    for model in index(folder).models:
        if model.name == name:
            return model
    raise EngineError(f"there is no converted model {name!r} in {folder}", remedy=_CONVERT)


def find_detector(folder: Path, *, width_px: int, frame_px: tuple[int, int]) -> Model:
    """The detector whose input is `width_px` wide and shows the whole of a frame at that width.

    Args:
        frame_px: width and height of the frames. When even the highest detector is too low for
            them it is taken, and the letterbox shrinks the frame.

    Raises:
        EngineError: no detector of this width was converted.
    """
    fitting = sorted(
        (m for m in index(folder).models if m.name == "detector" and m.input[3] == width_px),
        key=lambda m: m.input[2],
    )
    if not fitting:
        raise EngineError(
            f"there is no detector converted for [detection] width_px = {width_px} in {folder}",
            remedy=f"run `python -m trt_engines convert --width {width_px}`",
        )
    height_px = width_px * frame_px[1] / frame_px[0]
    # Half a detector's pixel missing costs less than the next higher input.
    return next((m for m in fitting if m.input[2] >= height_px - 0.5), fitting[-1])


def chosen(folder: Path, settings: Settings, frame_px: tuple[int, int]) -> list[Model]:
    """The models that the policy allows: none for attributes in count mode, and the expression
    model only where expressions may be recognised.

    Args:
        frame_px: width and height of the frames.

    Raises:
        EngineError: one of them was not converted.
    """
    names = ["age", "gender"] if settings.policy.mode == "attributes" else []
    if names and settings.policy.expression:
        names.append("expression")
    width_px = settings.detection.width_px
    detector = find_detector(folder, width_px=width_px, frame_px=frame_px)
    return [detector, *(find(folder, name) for name in names)]


@contextmanager
def opened(folder: Path, model: Model) -> Iterator[BinaryIO]:
    """The model file, open for reading and with the digest that the index names.

    Raises:
        EngineError: it is missing, or was altered.
    """
    path = folder / model.file
    try:
        file = path.open("rb")
    except OSError as error:
        raise EngineError(f"model file {path} is missing", remedy=_CONVERT) from error
    with file:
        if digest(file) != model.sha256:
            raise EngineError(
                f"model file {path} was altered after its conversion", remedy=_CONVERT
            )
        yield file


def digest(file: BinaryIO) -> str:
    """Hexadecimal SHA-256 of a file, which is then at its start again."""
    sha256 = hashlib.sha256()
    while block := file.read(1 << 18):
        sha256.update(block)
    file.seek(0)
    return sha256.hexdigest()


def model_set(models: Iterable[Model]) -> str:
    """8 hexadecimal digits that name the models in use, whatever their order."""
    digests = sorted(model.sha256 for model in models)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:8]
