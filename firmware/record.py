"""The anonymous record of one interaction: all that ever leaves the device about a visitor.

The Structs below are the schema; `json_schema()` publishes it (docs/record.schema.json is made
from it and a test holds the two together). Every field is an integer or an enumerated word:
nothing in a record can carry a picture, a face vector or a free text. A record that contradicts
itself cannot be made (ValueError), sealed or opened (SealError); the JSON Schema cannot say this.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

SCHEMA_VERSION = 1

Confidence = Literal["none", "low", "medium", "high"]
"""Confidence class of a vote; `none` goes with the value `unknown` and with nothing else."""


class Gender(str, Enum):
    UNKNOWN = "unknown"
    FEMALE = "female"
    MALE = "male"


class AgeCategory(str, Enum):
    """Age in years, both ends included. A visitor under 16 is `child`, with no finer value."""

    UNKNOWN = "unknown"
    CHILD = "child"
    A16_24 = "16-24"
    A25_34 = "25-34"
    A35_44 = "35-44"
    A45_54 = "45-54"
    A55_64 = "55-64"
    A65_PLUS = "65+"


class Expression(str, Enum):
    UNKNOWN = "unknown"
    ANGRY = "angry"
    DISGUST = "disgust"
    FEAR = "fear"
    HAPPY = "happy"
    NEUTRAL = "neutral"
    SAD = "sad"
    SURPRISE = "surprise"


Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=86_400_000, multiple_of=100)]


def _check_confidence(unknown: bool, confidence: Confidence) -> None:
    if unknown != (confidence == "none"):
        raise ValueError("confidence `none` goes with `unknown` and with nothing else")


class GenderEstimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: Gender = Gender.UNKNOWN
    confidence: Confidence = "none"

    def __post_init__(self) -> None:
        _check_confidence(self.value is Gender.UNKNOWN, self.confidence)


class AgeEstimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    category: AgeCategory = AgeCategory.UNKNOWN
    confidence: Confidence = "none"

    def __post_init__(self) -> None:
        _check_confidence(self.category is AgeCategory.UNKNOWN, self.confidence)


class ExpressionEstimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`shares` gives the percentage of the votes for each class that had any, summing to 100."""

    dominant: Expression = Expression.UNKNOWN
    shares: dict[Expression, Percent] = {}
    confidence: Confidence = "none"

    def __post_init__(self) -> None:
        _check_confidence(self.dominant is Expression.UNKNOWN, self.confidence)
        if self.shares and sum(self.shares.values()) != 100:
            raise ValueError("shares do not sum to 100")


class Interaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One visitor's stay in view. Its number and its device stand in the envelope's header.

    Attributes:
        start_utc_s: when the visitor came, Unix seconds, rounded to `[privacy] time_rounding_s`.
        clock_synchronised: whether the device trusted its clock then.
        dwell_ms: time in view, in steps of 100 ms.
        attention_ms: part of it during which the face was turned to the sensor, same steps.
        model_set: 8 hexadecimal digits that name the models that made the estimates.
    """

    schema: Annotated[int, msgspec.Meta(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    start_utc_s: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
    clock_synchronised: bool = True
    dwell_ms: Milliseconds
    attention_ms: Milliseconds = 0
    gender: GenderEstimate = GenderEstimate()
    age: AgeEstimate = AgeEstimate()
    expression: ExpressionEstimate = ExpressionEstimate()
    model_set: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}$")] = "00000000"

    def __post_init__(self) -> None:
        if self.attention_ms > self.dwell_ms:
            raise ValueError("attention lasts longer than the stay")
        child = self.age.category is AgeCategory.CHILD
        if child and (self.gender, self.expression) != (GenderEstimate(), ExpressionEstimate()):
            raise ValueError("a child's record holds finer data than `child`")


Word = Annotated[str, msgspec.Meta(max_length=64)]
Whole = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
HealthBody: TypeAlias = dict[
    Word,
    Whole
    | bool
    | Word
    | Annotated[list[Word], msgspec.Meta(max_length=32)]
    | Annotated[dict[Word, Whole], msgspec.Meta(max_length=32)]
    | None,
]
"""The device about itself (firmware/health.py): flat, and no place for a float or a picture."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of an opened record."""
    schema = msgspec.json.schema(Interaction)
    for definition in schema["$defs"].values():
        # Python 3.13 strips the indentation of docstrings, older ones do not.
        if "description" in definition:
            definition["description"] = " ".join(definition["description"].split())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
