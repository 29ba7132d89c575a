"""A device seals only to a key that its operator has named, and never goes back to an old one."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.envelope import Suite
from firmware.errors import SealError
from firmware.key_statement import RecipientKey, accept, issue
from tests import keys

OPERATOR = keys.Signing("operator")
OLD = keys.private_key("old", Suite.MLKEM768_X25519)
NEW = keys.private_key("new", Suite.MLKEM768_X25519)


def statement(serial: int = 2, operator: keys.Signing = OPERATOR) -> bytes:
    return issue(NEW.public_bytes(), serial=serial, issued_utc_s=1_700_000_000, operator=operator)


def test_the_operators_statement_is_accepted() -> None:
    accepted = accept(statement(), operator_pem=OPERATOR.public_pem, newest_serial=1)
    assert accepted.serial == 2
    assert accepted.key().key_id == NEW.key_id


def test_it_fits_a_string_of_the_twin() -> None:
    assert len(statement()) < 4096


def test_the_stored_statement_is_accepted_at_every_start() -> None:
    accept(statement(2), operator_pem=OPERATOR.public_pem, newest_serial=2)


def test_an_older_statement_is_refused() -> None:
    with pytest.raises(SealError, match="serial 1, older than 2"):
        accept(statement(1), operator_pem=OPERATOR.public_pem, newest_serial=2)


def test_another_operators_statement_is_refused() -> None:
    with pytest.raises(SealError, match="not signed by this device's operator"):
        accept(statement(operator=keys.Signing("thief")), operator_pem=OPERATOR.public_pem)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b'{"type":"\xff"}',
        NEW.public_bytes(),
        b'{"type":"flow-signed-statement","statement":"e30="}',
        b'{"type":"flow-signed-statement","statement":"e30=","signature":""}',
    ],
    ids=[
        "empty",
        "object",
        "binary",
        "endless",
        "nested",
        "no text",
        "plain key",
        "no signature",
        "empty signature",
    ],
)
def test_what_is_not_signed_is_refused(content: bytes) -> None:
    with pytest.raises(SealError, match="statement refused"):
        accept(content, operator_pem=OPERATOR.public_pem)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(0, len(statement()) - 2), st.integers(1, 255))
def test_an_altered_statement_is_refused(at: int, change: int) -> None:
    altered = bytearray(statement())
    altered[at] ^= change
    try:
        accepted = accept(bytes(altered), operator_pem=OPERATOR.public_pem)
    except SealError:
        return
    # Base64 has spare bits: another text, the same content.
    assert accepted == accept(statement(), operator_pem=OPERATOR.public_pem)


def test_the_operators_signature_over_something_else_is_no_statement() -> None:
    content = base64.b64decode(msgspec.json.decode(statement())["statement"])
    signed = {
        "type": "flow-signed-statement",
        "statement": content,
        "signature": OPERATOR.sign(content),  # without the label
    }
    with pytest.raises(SealError, match="not signed by this device's operator"):
        accept(msgspec.json.encode(signed), operator_pem=OPERATOR.public_pem)


def test_a_signature_has_one_form() -> None:
    fields = msgspec.json.decode(statement())
    signature = base64.b64decode(fields["signature"])
    fields["signature"] = base64.b64encode(signature[:32] + b"\0" + signature[32:]).decode()
    with pytest.raises(SealError, match="not signed by this device's operator"):
        accept(msgspec.json.encode(fields), operator_pem=OPERATOR.public_pem)


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"type":"flow-recipient-statement","version":2}',
        b'{"type":"flow-recipient-statement","version":1,"serial":1,"issued_utc_s":0,'
        b'"recipient":{"type":"flow-recipient","version":1,"suite":"X25519","key_id":"00",'
        b'"key":"AAAA"}}',
    ],
)
def test_a_signed_statement_that_names_no_key_is_refused(content: bytes) -> None:
    signature = OPERATOR.sign(b"FLOW recipient statement 1\0" + content)
    signed = {"type": "flow-signed-statement", "statement": content, "signature": signature}
    with pytest.raises(SealError, match=r"malformed|public key"):
        accept(msgspec.json.encode(signed), operator_pem=OPERATOR.public_pem)


@pytest.mark.parametrize("serial", [0, -1, 1 << 53])
def test_serial_out_of_range(serial: int) -> None:
    with pytest.raises(SealError, match="malformed"):
        statement(serial)


def test_only_a_public_key_file_can_be_stated() -> None:
    with pytest.raises(SealError, match="public key"):
        issue(OLD.to_bytes(), serial=1, issued_utc_s=0, operator=OPERATOR)


@pytest.mark.parametrize("pem", [b"", b"no PEM", OPERATOR.public_pem.replace(b"M", b"N", 1)])
def test_pinned_operator_key_that_is_none(pem: bytes) -> None:
    with pytest.raises(SealError, match="operator key"):
        accept(statement(), operator_pem=pem)


def test_without_an_operator_a_plain_key_counts() -> None:
    assert RecipientKey().take(OLD.public_bytes()).key_id == OLD.key_id


def test_with_a_pinned_operator_only_statements_count_and_only_forward() -> None:
    pinned = RecipientKey(OPERATOR.public_pem)
    with pytest.raises(SealError, match="is not signed"):
        pinned.take(OLD.public_bytes())
    assert pinned.take(statement(3)).key_id == NEW.key_id
    with pytest.raises(SealError, match="older"):
        pinned.take(statement(2))
    assert pinned.take(statement(3)).key_id == NEW.key_id
    assert pinned.serial == 3
