"""The reader: what counts once, what is refused, what is missing; nothing but SealError."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.device_trust import DeviceTrust
from firmware.envelope import Header, Kind, Suite, pack
from firmware.errors import SealError
from firmware.reader import Coverage, Opened, RamMemory, Reader
from firmware.record import Interaction
from firmware.sealing import HPKE, seal, seal_health, sign
from tests import keys

DEVICE = keys.Signing("device")
ROTATED = keys.Signing("device, rotated")
THIEF = keys.Signing("thief")
VISIT = Interaction(start_utc_s=1_700_000_040, dwell_ms=12_300, attention_ms=4_500)
TRUST = DeviceTrust(
    {
        "lobby-1": [ROTATED.private.public_key(), DEVICE.private.public_key()],
        "shelf-1": [THIEF.private.public_key()],
    }
)
fuzz = settings(derandomize=True, deadline=None, max_examples=300)


def reader(memory: RamMemory | None = None) -> Reader:
    return Reader([keys.private_key()], TRUST, memory)


def envelope(
    number: int = 1,
    *,
    device: str = "lobby-1",
    signer: keys.Signing = DEVICE,
    interaction: Interaction = VISIT,
    key: str = "recipient",
) -> bytes:
    sealed = seal(interaction, number=number, device=device, recipient=keys.recipient(key))
    return sign(sealed, signer)


def raw_envelope(text: bytes, kind: Kind = Kind.INTERACTION) -> bytes:
    """What a device's software could seal if it did not keep to the schema."""
    recipient = keys.recipient()
    info = Header(Suite.X25519, kind, recipient.key_id, 1, "lobby-1").encode()
    return sign(info + HPKE[Suite.X25519].encrypt(text, recipient._key, info), DEVICE)


def body(*envelopes: bytes) -> bytes:
    packed, taken = pack(envelopes)
    assert taken == len(envelopes)
    return packed


def test_a_message_of_several_records() -> None:
    health = sign(
        seal_health({"schema": 1}, number=9, device="lobby-1", recipient=keys.recipient()), DEVICE
    )
    reading = reader().read(body(envelope(1), health, envelope(2)), "lobby-1")
    assert reading.records == [
        Opened("lobby-1", "interaction", 1, VISIT),
        Opened("lobby-1", "health", 9, {"schema": 1}),
        Opened("lobby-1", "interaction", 2, VISIT),
    ]
    assert (reading.duplicates, reading.refused) == (0, [])


@pytest.mark.parametrize("suite", Suite)
def test_both_suites_and_several_private_keys(suite: Suite) -> None:
    present = keys.private_key("new", suite)
    opener = Reader([keys.private_key("old", suite), present], TRUST)
    for label in ("old", "new"):
        sealed = seal(VISIT, number=1, device="lobby-1", recipient=keys.recipient(label, suite))
        assert opener.open(sign(sealed, DEVICE), "lobby-1").record == VISIT


def test_records_from_before_and_after_a_certificate_rotation() -> None:
    reading = reader().read(body(envelope(1), envelope(2, signer=ROTATED)), "lobby-1")
    assert len(reading.records) == 2


GOOD = envelope()


# ---- exactly once --------------------------------------------------------------------------------


def test_a_record_that_arrives_again_counts_once() -> None:
    opener = reader()
    twice = envelope(1)
    assert len(opener.read(body(twice), "lobby-1").records) == 1
    again = opener.read(body(twice, envelope(2)), "lobby-1")
    assert [opened.number for opened in again.records] == [2]
    assert again.duplicates == 1


def test_a_record_that_was_signed_again_counts_once() -> None:
    sealed = seal(VISIT, number=1, device="lobby-1", recipient=keys.recipient())
    reading = reader().read(body(sign(sealed, DEVICE), sign(sealed, ROTATED)), "lobby-1")
    assert (len(reading.records), reading.duplicates) == (1, 1)


def test_each_kind_and_each_device_counts_on_its_own() -> None:
    opener = reader()
    health = seal_health({"schema": 1}, number=1, device="lobby-1", recipient=keys.recipient())
    first = opener.read(body(envelope(1), sign(health, DEVICE)), "lobby-1")
    second = opener.read(body(envelope(1, device="shelf-1", signer=THIEF)), "shelf-1")
    assert (len(first.records), len(second.records)) == (2, 1)


def test_one_number_for_two_records_shows_two_devices_with_one_identity() -> None:
    reading = reader().read(body(envelope(1), envelope(1)), "lobby-1")
    assert len(reading.records) == 1
    assert "came twice, not the same" in reading.refused[0].problem


def test_workers_share_a_memory() -> None:
    memory = RamMemory()
    message = body(envelope(1))
    assert len(reader(memory).read(message, "lobby-1").records) == 1
    assert reader(memory).read(message, "lobby-1").duplicates == 1


def test_a_refused_envelope_does_not_use_its_number_up() -> None:
    opener = reader()
    forged = envelope(1, signer=THIEF)
    assert len(opener.read(body(forged), "lobby-1").refused) == 1
    assert len(opener.read(body(envelope(1)), "lobby-1").records) == 1


# ---- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed", "device", "why"),
    [
        (envelope(), "shelf-1", "came over the connection"),  # replayed by another device
        (envelope(device="shelf-1", signer=DEVICE), "shelf-1", "not signed by a key"),
        (envelope(signer=THIEF), "lobby-1", "not signed by a key"),
        (envelope(device="ghost"), "ghost", "not signed by a device known here"),
        (envelope(key="other"), "lobby-1", "which is not here"),
        (envelope()[:-1], "lobby-1", "not signed"),
        (envelope() + b"x", "lobby-1", "not signed"),
        (envelope()[:-64] + bytes(64), "lobby-1", "not signed"),
        (envelope()[:-64] + b"\xff" * 64, "lobby-1", "not signed"),
        (b"", "lobby-1", "no signature"),
    ],
)
def test_envelopes_that_are_refused(signed: bytes, device: str, why: str) -> None:
    with pytest.raises(SealError, match=why):
        reader().open(signed, device)


def test_key_id_of_one_suite_with_the_number_of_another() -> None:
    recipient = keys.recipient()
    info = Header(Suite.MLKEM768_X25519, Kind.INTERACTION, recipient.key_id, 1, "lobby-1").encode()
    with pytest.raises(SealError, match="which is not here"):
        reader().open(sign(info + bytes(600), DEVICE), "lobby-1")


def test_a_bad_envelope_does_not_hold_up_the_others() -> None:
    reading = reader().read(body(envelope(1), envelope(2, signer=THIEF), envelope(3)), "lobby-1")
    assert [opened.number for opened in reading.records] == [1, 3]
    assert len(reading.refused) == 1


@fuzz
@given(st.data())
def test_an_altered_envelope_is_refused(data: st.DataObject) -> None:
    altered = bytearray(GOOD)
    at = data.draw(st.integers(0, len(GOOD) - 1))
    altered[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        reader().open(bytes(altered), "lobby-1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "breaks its schema"),
        (b"\xff", "breaks its schema"),
        (b"{}", "breaks its schema"),
        (b'{"schema":1,"model_set":"\xff"}', "breaks its schema"),
        (b'{"schema":"1"}', "breaks its schema"),
        (b'{"schema":2}', "has schema 2"),
        (b'{"schema":0}', "has schema 0"),
        (b'{"schema":1,"start_utc_s":0,"dwell_ms":0,"face":[0.1]}', "breaks its schema"),
        (b'{"schema":1,"start_utc_s":0,"dwell_ms":0,"model_set":"Ada"}', "breaks its schema"),
        (b'{"schema":1,"start_utc_s":0,"dwell_ms":0,"attention_ms":100}', "breaks its schema"),
        (b'{"schema":1' + b"0" * 5000 + b"}", "breaks its schema"),
        (b'{"schema":1,"x":' + b"[" * 3000, "breaks its schema"),
        (
            b'{"schema":1,"start_utc_s":0,"dwell_ms":0,"age":{"category":"child","confidence":'
            b'"high"},"gender":{"value":"male","confidence":"high"}}',
            "breaks its schema",
        ),
    ],
)
def test_a_record_outside_its_schema_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(SealError, match=why):
        reader().open(raw_envelope(text), "lobby-1")


def test_a_health_record_outside_its_schema_is_refused() -> None:
    with pytest.raises(SealError, match="breaks its schema"):
        reader().open(raw_envelope(b'{"schema":1,"x":[[1]]}', Kind.HEALTH), "lobby-1")


# ---- any input -----------------------------------------------------------------------------------


@fuzz
@given(st.binary(max_size=300), st.sampled_from(["lobby-1", "", "ghost", "x" * 500, "ö\0"]))
def test_any_message_is_read_or_refused(message: bytes, device: str) -> None:
    reading = reader().read(message, device)
    assert reading.records == []
    assert reading.refused


@fuzz
@given(st.binary(max_size=300).map(lambda tail: GOOD[:40] + tail))
def test_any_envelope_with_a_good_header_is_refused(signed: bytes) -> None:
    with pytest.raises(SealError):
        reader().open(signed, "lobby-1")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
record_like = st.fixed_dictionaries(
    {"schema": st.just(1)},
    optional={name: json_values for name in Interaction.__struct_fields__ if name != "schema"},
)


@settings(fuzz, max_examples=150)
@given(
    st.binary(max_size=200) | record_like.map(msgspec.json.encode),
    st.sampled_from(Kind),
)
def test_any_text_of_a_trusted_device_is_opened_or_refused(text: bytes, kind: Kind) -> None:
    try:
        opened = reader().open(raw_envelope(text, kind), "lobby-1")
    except SealError:
        return
    assert isinstance(opened.record, Interaction if kind is Kind.INTERACTION else dict)


# ---- gaps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ([5], 0),
        ([5, 6, 7], 0),
        ([7, 5, 6], 0),  # out of order
        ([5, 7], 1),
        ([5, 261], 255),  # a power cut: the rest of a block of 256
        ([5, 5, 7, 7], 1),  # duplicates fill no gap
    ],
)
def test_gaps_are_counted(numbers: list[int], missing: int) -> None:
    opener = reader()
    sealed = {number: envelope(number) for number in numbers}
    for number in numbers:
        opener.read(body(sealed[number]), "lobby-1")
    assert opener.coverage["lobby-1"].missing == missing


def test_health_numbers_leave_no_gaps() -> None:
    opener = reader()
    for number in (1, 1000):
        health = seal_health(
            {"schema": 1}, number=number, device="lobby-1", recipient=keys.recipient()
        )
        opener.read(body(sign(health, DEVICE)), "lobby-1")
    assert opener.coverage == {}


def test_trust_can_be_replaced_while_reading() -> None:
    opener = reader()
    opener.trust = DeviceTrust({})
    assert opener.read(body(GOOD), "lobby-1").refused
    opener.trust = TRUST
    assert opener.read(body(GOOD), "lobby-1").records


def test_coverage_of_one_number() -> None:
    coverage: Any = Coverage(3, 3)
    coverage.add(1)
    assert (coverage.first, coverage.last, coverage.read, coverage.missing) == (1, 3, 2, 1)
