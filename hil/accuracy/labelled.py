"""Labelled pictures as a folder of four sets; see `docs/model-cards.md` for where to get them.

age_gender/index.csv   path, age (years), gender, race, natural_weight
expression/index.csv   path, expression
detection/boxes.csv    path, x, y, width, height (px), real_px (face size really present)
no_face/*.jpg          pictures without people
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from firmware.errors import ConfigError

_Row = TypeVar("_Row")
_REMEDY = "pass --data with a folder laid out as `python -m hil.accuracy --help` says"


class Person(msgspec.Struct, frozen=True):
    path: Path
    age: float
    gender: str
    race: str
    natural_weight: float
    """Restores the natural mix of a set that was balanced by age and gender."""


class Shown(msgspec.Struct, frozen=True):
    path: Path
    expression: str


class Box(msgspec.Struct, frozen=True):
    path: Path
    x: float
    y: float
    width: float
    height: float
    real_px: float


class Sets(msgspec.Struct, frozen=True):
    """All labelled pictures of one folder.

    Attributes:
        crowds: the labelled boxes by picture.
        empty: pictures without people.
    """

    people: Sequence[Person]
    shown: Sequence[Shown]
    crowds: Mapping[Path, Sequence[Box]]
    empty: Sequence[Path]


def load(data: Path, limit: int = 0) -> Sets:
    """The sets of a folder; `limit` takes so many of each, evenly from all of it; 0: all.

    Raises:
        ConfigError: a set is missing or has a row that is wrong.
    """
    crowds: dict[Path, list[Box]] = {}
    for box in _rows(data / "detection" / "boxes.csv", Box):
        crowds.setdefault(box.path, []).append(box)
    pictures = (data / "no_face").glob("*")
    empty = sorted(path for path in pictures if path.suffix.lower() in (".jpg", ".png"))
    if not empty:
        raise ConfigError(f"there are no pictures in {data / 'no_face'}", remedy=_REMEDY)
    return Sets(
        people=_spread(_rows(data / "age_gender" / "index.csv", Person), limit),
        shown=_spread(_rows(data / "expression" / "index.csv", Shown), limit),
        crowds=dict(_spread(list(crowds.items()), limit)),
        empty=_spread(empty, limit),
    )


def read(path: Path) -> NDArray[np.uint8]:
    """u8 (H, W, 3) BGR.

    Raises:
        ConfigError: it is no picture.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ConfigError(f"{path} is not a picture that can be read", remedy=_REMEDY)
    return np.asarray(picture, np.uint8)


def _spread(rows: list[_Row], limit: int) -> list[_Row]:
    if not limit or limit >= len(rows):
        return rows
    return [rows[i * len(rows) // limit] for i in range(limit)]


def _rows(index: Path, kind: type[_Row]) -> list[_Row]:
    try:
        with index.open(newline="", encoding="utf-8") as file:
            rows = [{**row, "path": str(row.get("path"))} for row in csv.DictReader(file)]
        if not rows:
            raise ConfigError(f"{index} has no rows", remedy=_REMEDY)
        beside = index.parent
        return [
            msgspec.convert(row, kind, strict=False, dec_hook=lambda _, path: beside / path)
            for row in rows
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{index} cannot be read ({type(error).__name__})", remedy=_REMEDY
        ) from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{index}: {error}", remedy=_REMEDY) from error
