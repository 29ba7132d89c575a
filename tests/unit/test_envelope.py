"""Envelopes: one encoding for each header, exact bodies, and SealError for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.envelope import (
    MAX_BODY,
    MAX_NUMBER,
    Header,
    Kind,
    Suite,
    is_device,
    pack,
    split,
    split_signature,
    unpack,
)
from firmware.errors import SealError

_DEVICE_CHARACTERS = "abcxyzABCXYZ0189-._:"
headers = st.builds(
    Header,
    suite=st.sampled_from(Suite),
    kind=st.sampled_from(Kind),
    key_id=st.binary(min_size=8, max_size=8),
    number=st.integers(0, MAX_NUMBER),
    device=st.text(_DEVICE_CHARACTERS, min_size=1, max_size=64),
)
fuzz = settings(derandomize=True, deadline=None, max_examples=300)
HEADER = Header(Suite.X25519, Kind.INTERACTION, bytes(8), 7, "lobby-1")


@fuzz
@given(headers, st.binary(max_size=100))
def test_header_comes_back(header: Header, rest: bytes) -> None:
    encoded = header.encode()
    assert split(encoded + rest) == (header, encoded, rest)


def test_header_is_laid_out_as_published() -> None:
    assert HEADER.encode().hex() == (
        "464c4f57" "01" "02" "01" "0000000000000000" "0000000000000007" "07" "6c6f6262792d31"
    )  # fmt: skip


@fuzz
@given(st.binary(max_size=120) | st.binary(max_size=100).map(lambda tail: b"FLOW\x01" + tail))
def test_other_bytes_are_a_seal_error(envelope: bytes) -> None:
    try:
        header, encoded, rest = split(envelope)
    except SealError:
        return
    assert encoded + rest == envelope
    assert header.encode() == encoded


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a", True),
        ("A-1.b_c:d", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ("gerät", False),
        ("a/b", False),
        ("a\0", False),
        ("$hub", False),  # means something in MQTT topics
    ],
)
def test_device_names(name: str, good: bool) -> None:
    assert is_device(name) is good
    if not good:
        with pytest.raises(SealError, match="name"):
            HEADER._replace(device=name).encode()


@pytest.mark.parametrize("number", [-1, MAX_NUMBER + 1])
def test_number_out_of_range(number: int) -> None:
    with pytest.raises(SealError, match="number"):
        HEADER._replace(number=number).encode()


def test_number_out_of_range_on_the_wire() -> None:
    encoded = bytearray(HEADER.encode())
    encoded[15] = 0x80
    with pytest.raises(SealError, match="number"):
        split(bytes(encoded))


@pytest.mark.parametrize(
    "envelope",
    [
        b"flow" + HEADER.encode()[4:],
        HEADER.encode()[:-1],  # name cut off
        HEADER.encode()[:-1] + b"/",
        HEADER.encode()[:-1] + b"\xfc",
        HEADER.encode()[:23] + b"\0",  # no name
    ],
)
def test_malformed_headers(envelope: bytes) -> None:
    with pytest.raises(SealError, match="malformed"):
        split(envelope)


def test_newer_version_asks_for_a_newer_reader() -> None:
    encoded = HEADER.encode()
    with pytest.raises(SealError, match="version 2") as caught:
        split(encoded[:4] + b"\x02" + encoded[5:])
    assert "newer release" in caught.value.remedy


@pytest.mark.parametrize("at", [5, 6])
def test_unknown_suite_or_kind(at: int) -> None:
    encoded = bytearray(HEADER.encode())
    encoded[at] = 99
    with pytest.raises(SealError, match="unknown"):
        split(bytes(encoded))


@fuzz
@given(st.lists(st.binary(min_size=1, max_size=2000), min_size=1, max_size=12))
def test_packing_takes_the_first_that_fit_and_comes_back(envelopes: list[bytes]) -> None:
    body, taken = pack(envelopes)
    assert len(body) <= MAX_BODY
    assert unpack(body) == envelopes[:taken]
    if taken < len(envelopes):
        assert len(body) + 2 + len(envelopes[taken]) > MAX_BODY


def test_a_body_is_filled_to_the_last_byte() -> None:
    most = MAX_BODY - 3
    assert len(pack([bytes(most)])[0]) == MAX_BODY
    with pytest.raises(SealError):
        pack([bytes(most + 1)])


def test_message_stays_below_one_metering_unit_with_its_properties() -> None:
    properties = 200  # message id, content type, encoding, kind: names and values
    assert MAX_BODY + properties <= 4096


@pytest.mark.parametrize("envelopes", [[], [bytes(MAX_BODY)]])
def test_nothing_to_pack(envelopes: list[bytes]) -> None:
    with pytest.raises(SealError, match="no envelope fits"):
        pack(envelopes)


@fuzz
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"\x01" + tail))
def test_other_bodies_are_a_seal_error(body: bytes) -> None:
    try:
        envelopes = unpack(body)
    except SealError:
        return
    assert pack(envelopes) == (body, len(envelopes))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",  # no envelope
        b"\x02\x00\x01x",  # unknown version
        b"\x01\x00",  # half a length
        b"\x01\x00\x00",  # empty envelope
        b"\x01\x00\x02x",  # cut off
        b"\x01\x00\x01xy",  # something behind
    ],
)
def test_malformed_bodies(body: bytes) -> None:
    with pytest.raises(SealError):
        unpack(body)


def test_no_room_for_a_signature() -> None:
    with pytest.raises(SealError, match="no signature"):
        split_signature(bytes(64))
