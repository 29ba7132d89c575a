"""The record: nothing finer than promised, and no contradiction."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from firmware.record import (
    AgeCategory,
    AgeEstimate,
    Expression,
    ExpressionEstimate,
    Gender,
    GenderEstimate,
    Interaction,
)

CHILD = AgeEstimate(AgeCategory.CHILD, "high")


@pytest.mark.parametrize(
    "finer",
    [
        {"gender": GenderEstimate(Gender.MALE, "low")},
        {"expression": ExpressionEstimate(Expression.SAD, {Expression.SAD: 100}, "low")},
        {"expression": ExpressionEstimate(shares={Expression.SAD: 100})},
    ],
)
def test_a_child_has_no_finer_data(finer: dict[str, Any]) -> None:
    assert Interaction(start_utc_s=0, dwell_ms=0, age=CHILD).age is CHILD
    with pytest.raises(ValueError, match="child"):
        Interaction(start_utc_s=0, dwell_ms=0, age=CHILD, **finer)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (GenderEstimate, (Gender.UNKNOWN, "low")),
        (GenderEstimate, (Gender.MALE, "none")),
        (AgeEstimate, (AgeCategory.UNKNOWN, "high")),
        (AgeEstimate, (AgeCategory.CHILD, "none")),
        (ExpressionEstimate, (Expression.UNKNOWN, {}, "low")),
        (ExpressionEstimate, (Expression.SAD, {Expression.SAD: 100}, "none")),
    ],
)
def test_none_goes_with_unknown(kind: Any, values: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="none"):
        kind(*values)


@pytest.mark.parametrize("share", [0, 99])
def test_shares_sum_to_100(share: int) -> None:
    with pytest.raises(ValueError, match="sum to 100"):
        ExpressionEstimate(Expression.SAD, {Expression.SAD: share}, "low")


def test_attention_is_part_of_the_stay() -> None:
    with pytest.raises(ValueError, match="attention"):
        Interaction(start_utc_s=0, dwell_ms=100, attention_ms=200)


def test_every_field_is_an_integer_a_word_or_a_table_of_shares() -> None:
    """No field could hold a picture, a vector or a text."""

    def leaves(kind: type) -> list[Any]:
        found = []
        for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
            if isinstance(field.type, msgspec.inspect.StructType):
                found += leaves(field.type.cls)
            else:
                found.append(field.type)
        return found

    for leaf in leaves(Interaction):
        match leaf:
            case msgspec.inspect.IntType() | msgspec.inspect.BoolType():
                pass
            case msgspec.inspect.EnumType() | msgspec.inspect.LiteralType():
                pass
            case msgspec.inspect.DictType(msgspec.inspect.EnumType(), msgspec.inspect.IntType()):
                pass
            case msgspec.inspect.StrType(pattern="^[0-9a-f]{8}$"):
                pass  # the model set
            case _:
                pytest.fail(f"{leaf} could hold more than the record promises")
