"""Sealing: only the recipient opens, length tells nothing, and the schema is kept."""

from __future__ import annotations

from typing import Any

import pytest

from firmware import sealing
from firmware.envelope import Kind, Suite, pack, split, split_signature
from firmware.errors import SealError
from firmware.record import (
    AgeCategory,
    AgeEstimate,
    Expression,
    ExpressionEstimate,
    Gender,
    GenderEstimate,
    Interaction,
)
from firmware.sealing import PADDED_SIZES, Recipient, seal, seal_health, sign
from tests import keys

SMALLEST = Interaction(start_utc_s=0, dwell_ms=0)
LARGEST = Interaction(
    start_utc_s=1 << 40,
    clock_synchronised=False,
    dwell_ms=86_400_000,
    attention_ms=86_400_000,
    gender=GenderEstimate(Gender.FEMALE, "medium"),
    age=AgeEstimate(AgeCategory.A65_PLUS, "medium"),
    expression=ExpressionEstimate(
        Expression.SURPRISE,
        dict(zip(list(Expression)[1:], (10, 10, 10, 10, 10, 10, 40), strict=True)),
        "medium",
    ),
    model_set="0123abcd",
)


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("interaction", [SMALLEST, LARGEST], ids=["smallest", "largest"])
def test_recipient_opens_what_was_sealed(suite: Suite, interaction: Interaction) -> None:
    recipient = keys.recipient(suite=suite)
    envelope = seal(interaction, number=5, device="lobby-1", recipient=recipient)
    header, info, ciphertext = split(envelope)
    assert header == (suite, Kind.INTERACTION, recipient.key_id, 5, "lobby-1")
    text = keys.private_key(suite=suite).decrypt(ciphertext, info)
    assert len(text) == PADDED_SIZES[0]
    assert sealing._interaction.decode(text) == interaction


@pytest.mark.parametrize("suite", Suite)
def test_length_tells_nothing(suite: Suite) -> None:
    recipient = keys.recipient(suite=suite)
    lengths = {
        len(seal(interaction, number=number, device="lobby-1", recipient=recipient))
        for interaction in (SMALLEST, LARGEST)
        for number in (0, 10**15)
    }
    assert len(lengths) == 1


@pytest.mark.parametrize(("suite", "count"), [(Suite.MLKEM768_X25519, 2), (Suite.X25519, 5)])
def test_records_in_one_hub_message(suite: Suite, count: int) -> None:
    signer = keys.Signing("device")
    recipient = keys.recipient(suite=suite)
    envelope = seal(LARGEST, number=1, device="d" * 64, recipient=recipient)
    assert pack([sign(envelope, signer)] * 10)[1] == count


def test_largest_health_record_fits_a_hub_message() -> None:
    body = {f"key{index:03}": 10**9 for index in range(80)}
    recipient = keys.recipient(suite=Suite.MLKEM768_X25519)
    envelope = seal_health(body, number=1, device="d" * 64, recipient=recipient)
    assert split(envelope)[0].kind is Kind.HEALTH
    assert pack([sign(envelope, keys.Signing("device"))])[1] == 1


def test_header_is_bound() -> None:
    envelope = bytearray(seal(SMALLEST, number=1, device="lobby-1", recipient=keys.recipient()))
    envelope[22] ^= 1  # another number
    _, info, ciphertext = split(bytes(envelope))
    with pytest.raises(SealError, match="does not open"):
        keys.private_key().decrypt(ciphertext, info)


def test_two_envelopes_of_one_record_differ() -> None:
    first, second = (
        seal(SMALLEST, number=1, device="lobby-1", recipient=keys.recipient()) for _ in range(2)
    )
    assert split(first)[2] != split(second)[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"dwell_ms": 101},  # finer than 100 ms
        {"dwell_ms": -100, "attention_ms": -100},
        {"dwell_ms": 100.0},
        {"clock_synchronised": "nearly"},
        {"model_set": "a picture, perhaps"},
        {"gender": b"bytes"},
        {"gender": "male"},
        {"schema": 2},
        {"start_utc_s": object()},
    ],
)
def test_a_record_that_breaks_its_schema_is_not_sealed(changes: dict[str, Any]) -> None:
    wrong = Interaction(**{"start_utc_s": 0, "dwell_ms": 100, **changes})
    with pytest.raises(SealError, match="breaks its schema") as caught:
        seal(wrong, number=1, device="lobby-1", recipient=keys.recipient())
    assert "perhaps" not in str(caught.value)


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "body",
    [
        {"temperature": 40.5},
        {"picture": [[1, 2], [3, 4]]},
        {"picture": [1, 2, 3]},
        {"frame": bytes(100)},
        {"deep": {"deeper": {"deepest": 1}}},
        {"deep": _nested(100_000)},
        {"x": "y" * 65},
        {"x": "\ud800"},
        {"x": 1 << 64},
        {f"key{index:03}": 10**9 for index in range(150)},
    ],
    ids=[
        *("float", "matrix", "vector", "bytes", "nested", "endless"),
        *("long word", "broken word", "huge", "long"),
    ],
)
def test_a_health_record_is_flat_and_short(body: dict[str, Any]) -> None:
    with pytest.raises(SealError):
        seal_health(body, number=1, device="lobby-1", recipient=keys.recipient())


@pytest.mark.parametrize(("number", "device"), [(-1, "lobby-1"), (1 << 63, "lobby-1"), (1, "ö")])
def test_number_and_device_that_fit_no_header(number: int, device: str) -> None:
    with pytest.raises(SealError):
        seal(SMALLEST, number=number, device=device, recipient=keys.recipient())


@pytest.mark.parametrize("fails", [False, True], ids=["sealed", "failed"])
def test_plain_text_is_zeroed(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    recipient = keys.recipient()
    suite = sealing.HPKE[Suite.X25519]
    seen: list[bytearray] = []

    class Watched:
        """The real suite, which lets us look at the buffer it was given."""

        def encrypt(self, text: bytearray, key: Any, info: bytes) -> bytes:
            assert text.startswith(b'{"schema":1')
            seen.append(text)
            return suite.encrypt(text, key, info if not fails else 0)  # type: ignore[arg-type]

    monkeypatch.setitem(sealing.HPKE, Suite.X25519, Watched())
    if fails:
        with pytest.raises(SealError):
            seal(LARGEST, number=1, device="lobby-1", recipient=recipient)
    else:
        seal(LARGEST, number=1, device="lobby-1", recipient=recipient)
    assert seen == [bytes(PADDED_SIZES[0])]


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize(
    "raw",
    [b"", bytes(32), bytes(31), b"\xff" * 1216, bytes(1216), b"\x01" + bytes(31)],
)
def test_keys_that_nothing_can_be_sealed_to(suite: Suite, raw: bytes) -> None:
    with pytest.raises(SealError, match="public key"):
        Recipient(suite, raw)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b'{"type":"\xff"}',
        b'{"type":"flow-recipient","version":2,"suite":"X25519","key_id":"","key":""}',
        b'{"type":"flow-recipient","version":1,"suite":"RSA","key_id":"","key":""}',
        b'{"type":"flow-recipient","version":1,"suite":"X25519","key_id":"","key":"?"}',
        keys.private_key().to_bytes(),
        keys.private_key().public_bytes().replace(b'"key_id":"', b'"key_id":"0'),
        keys.private_key().public_bytes().replace(b"{", b'{"more":1,'),
    ],
)
def test_files_that_are_no_public_key(file: bytes) -> None:
    with pytest.raises(SealError, match="public key"):
        Recipient.from_bytes(file)


def test_signature_covers_the_whole_envelope() -> None:
    signer = keys.Signing("device")
    envelope = seal(SMALLEST, number=1, device="lobby-1", recipient=keys.recipient())
    signed = sign(envelope, signer)
    assert split_signature(signed) == (envelope, signed[-64:])


def test_only_envelopes_are_signed() -> None:
    with pytest.raises(SealError):
        sign(b"a certificate request, say" * 3, keys.Signing("device"))


def test_signer_of_another_kind() -> None:
    class Der:
        def sign(self, data: bytes, /) -> bytes:
            return bytes(71)

    envelope = seal(SMALLEST, number=1, device="lobby-1", recipient=keys.recipient())
    with pytest.raises(SealError, match="P-256"):
        sign(envelope, Der())
