"""Twin properties: merge patches, versions and IoT Hub's limits."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.local_hub import json_text
from hil.local_hub.twin import MAX_SIZE, Properties, TwinError

fuzz = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}, {"a": {"c": 2, "d": 3}}),
        ({"a": 1}, {"a": {"b": None, "c": 2}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"$version": 99}, {"a": 1}),
    ],
)
def test_a_patch_is_merged(
    before: dict[str, Any], patch: dict[str, Any], after: dict[str, Any]
) -> None:
    properties = Properties(before)
    properties.patch(patch)
    assert properties.as_seen() == {**after, "$version": 2}


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels else {}


def filled(octets: int) -> dict[str, Any]:
    """Properties of that size: strings under keys of three octets."""
    whole, rest = divmod(octets, 4000)
    strings = [3997] * whole + ([rest - 3] if rest else [])
    return {f"k{at:02}": "x" * length for at, length in enumerate(strings)}


@pytest.mark.parametrize(
    "patch",
    [
        nested(10),
        {"x" * 1024: 1},
        {"a": "x" * 4096},
        {"a": 2**52 - 1, "b": -(2**52)},
        {"a": 1.5, "b": True, "c": []},
        filled(MAX_SIZE),
    ],
)
def test_what_is_just_within_the_limits_is_taken(patch: dict[str, Any]) -> None:
    properties = Properties()
    properties.patch(patch)
    assert properties.values == patch


@pytest.mark.parametrize(
    "patch",
    [
        [],
        None,
        "text",
        nested(11),
        {"a": [[[[[[[[[[[1]]]]]]]]]]]},
        {"": 1},
        {"x" * 1025: 1},
        {"a.b": 1},
        {"$a": 1},
        {"a b": 1},
        {"a\n": 1},
        {"a": {"b": {"c.d": 1}}},
        {"a": [{"b.c": 1}]},
        {"a": "x" * 4097},
        {"a": 2**52},
        {"a": [-(2**52) - 1]},
        filled(MAX_SIZE + 1),
    ],
)
def test_what_is_over_a_limit_is_refused_and_changes_nothing(patch: object) -> None:
    properties = Properties({"kept": 1})
    with pytest.raises(TwinError):
        properties.patch(patch)
    assert properties == Properties({"kept": 1}, 1)


def test_many_small_patches_cannot_get_over_the_limit() -> None:
    properties = Properties(filled(MAX_SIZE))
    with pytest.raises(TwinError):
        properties.patch({"one": 1})
    properties.patch({"k00": None})
    properties.patch({"one": 1})


def test_what_is_read_cannot_be_changed_from_outside() -> None:
    properties = Properties({"a": {"b": 1}})
    properties.as_seen()["a"]["b"] = 2
    assert properties.values == {"a": {"b": 1}}


@fuzz
@given(st.binary(max_size=100))
def test_any_octets_are_json_or_a_value_error(octets: bytes) -> None:
    with contextlib.suppress(ValueError):
        json_text.parse(octets)


@pytest.mark.parametrize(
    "octets", [b"[" * 200_000, b'{"a":' * 200_000, b"NaN", b'"\\ud800"', b"\xff", b"", b"1 2"]
)
def test_text_that_is_no_proper_json_is_a_value_error(octets: bytes) -> None:
    with pytest.raises(ValueError):
        json_text.parse(octets)
