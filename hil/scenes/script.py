"""The text format of a scene: TOML in, frozen Structs out.

Lengths are metres, times seconds, angles degrees. The camera stands at the origin and looks along
z; x goes to the right of the picture. `docs/scenes.md` shows a scene with every key.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from firmware.errors import ConfigError

STANDARD = Path(__file__).parent / "standard"
NEAR = Path(__file__).parent / "near"
"""Slow, and close to the camera: for rigs that see little and seldom."""

Positive = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Degrees = Annotated[float, msgspec.Meta(ge=-180, le=180)]
Colour = Annotated[str, msgspec.Meta(pattern="^#[0-9a-f]{6}$")]
Portrait = Literal["astronaut", "grace_hopper", "obama", "biden"]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Camera(_Section, frozen=True):
    width_px: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 1280
    height_px: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 720
    frames_per_s: Annotated[float, msgspec.Meta(ge=1, le=120)] = 25.0
    field_of_view_deg: Annotated[float, msgspec.Meta(ge=20, le=120)] = 62.0
    height_m: Positive = 1.6
    shutter_s: Annotated[float, msgspec.Meta(ge=0, le=0.1)] = 0.008
    noise: Annotated[float, msgspec.Meta(ge=0, le=50)] = 2.0
    """Standard deviation of the sensor's noise, in grey levels."""


class Light(_Section, frozen=True):
    level: Annotated[float, msgspec.Meta(gt=0, le=2)] = 1.0
    flicker_hz: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    flicker_depth: Fraction = 0.0
    """How much of the light is missing at the darkest moment of the flicker."""


class Visitor(_Section, frozen=True):
    portrait: Portrait
    path: Annotated[tuple[tuple[float, float, Positive], ...], msgspec.Meta(min_length=2)]
    """Where the visitor is: (time, x, z), times rising; a straight line in between."""
    turn: tuple[tuple[float, Degrees], ...] = ()
    """Where the face points: (time, angle to the camera); empty: into the camera all the time."""
    height_m: Annotated[float, msgspec.Meta(ge=0.6, le=2.3)] = 1.74
    mirror: bool = False
    warmth: Annotated[float, msgspec.Meta(ge=-1, le=1)] = 0.0
    """Tint of the head, from bluish to reddish: tells variants of one portrait apart."""
    coat: Colour = "#39434f"
    bob_m: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.02
    bob_hz: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1.9


class Pillar(_Section, frozen=True):
    """Something that hides who walks behind it."""

    x_m: float
    z_m: Positive
    width_m: Positive = 0.5
    height_m: Positive = 3.5


class Script(_Section, frozen=True):
    title: str
    seconds: Annotated[float, msgspec.Meta(gt=0, le=600)]
    interactions: Annotated[int, msgspec.Meta(ge=0)]
    """How many the author says there are; rendering and the truth must agree with it."""
    seed: int = 1
    camera: Camera = Camera()
    light: Light = Light()
    visitor: tuple[Visitor, ...] = ()
    pillar: tuple[Pillar, ...] = ()


def load(path: Path) -> Script:
    """Read a scene.

    Raises:
        ConfigError: the file cannot be read, is no scene, or a value in it is wrong.
    """
    try:
        script = msgspec.toml.decode(path.read_bytes(), type=Script)
    except OSError as error:
        raise ConfigError(
            f"scene {path} cannot be read ({type(error).__name__})",
            remedy=f"name a .scene file, such as one of those in {STANDARD}",
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"scene {path}: {error}", remedy="mend the line or the key; see docs/scenes.md"
        ) from error
    for number, visitor in enumerate(script.visitor):
        for what, times in (
            ("path", [point[0] for point in visitor.path]),
            ("turn", [point[0] for point in visitor.turn]),
        ):
            if any(later <= earlier for earlier, later in itertools.pairwise(times)):
                raise ConfigError(
                    f"scene {path}: visitor[{number}].{what}: times must rise",
                    remedy="put the points in order, with no time twice",
                )
    return script


def standard() -> list[Path]:
    """The standard set, in order of name."""
    return sorted(STANDARD.glob("*.scene"))
