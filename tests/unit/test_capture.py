"""`flow-sensor open`: what it prints of a capture, and what it says of damaged ones."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.capture import TABLE_HEAD, Captured, Totals, messages, open_captures
from firmware.device_trust import DeviceTrust
from firmware.envelope import pack
from firmware.errors import SealError
from firmware.reader import Reader
from firmware.record import (
    AgeCategory,
    AgeEstimate,
    Expression,
    ExpressionEstimate,
    Gender,
    GenderEstimate,
    Interaction,
)
from firmware.sealing import seal, seal_health, sign
from tests import keys

DEVICE = keys.Signing("device")
VISIT = Interaction(
    start_utc_s=1_767_225_600,
    dwell_ms=12_300,
    attention_ms=4_500,
    age=AgeEstimate(AgeCategory.A25_34, "medium"),
    gender=GenderEstimate(Gender.FEMALE, "high"),
    expression=ExpressionEstimate(Expression.HAPPY, {Expression.HAPPY: 100}, "low"),
)


def reader() -> Reader:
    return Reader([keys.private_key()], DeviceTrust({"lobby-1": [DEVICE.private.public_key()]}))


def line(*numbers: int, health: int = 0) -> bytes:
    signed = [
        sign(seal(VISIT, number=number, device="lobby-1", recipient=keys.recipient()), DEVICE)
        for number in numbers
    ]
    if health:
        sealed = seal_health(
            {"schema": 1}, number=health, device="lobby-1", recipient=keys.recipient()
        )
        signed.append(sign(sealed, DEVICE))
    body = base64.b64encode(pack(signed)[0]).decode()
    text = {"hub": "h", "device": "lobby-1", "message_id": "m", "body": body, "at": 1.5}
    return json.dumps(text).encode() + b"\n"


def run(*paths: Path, table: bool = False) -> tuple[Totals, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    totals = open_captures(paths, reader(), table=table, out=out, errors=errors)
    return totals, out.getvalue(), errors.getvalue()


def test_each_record_is_one_line_of_json_once(tmp_path: Path) -> None:
    capture = tmp_path / "hub.jsonl"
    first = line(1, 2)
    capture.write_bytes(first + line(5, health=9) + first)
    totals, out, errors = run(capture)
    lines = [json.loads(text) for text in out.splitlines()]
    assert [(one["kind"], one["number"]) for one in lines] == [
        ("interaction", 1),
        ("interaction", 2),
        ("interaction", 5),
        ("health", 9),
    ]
    assert lines[0]["record"]["age"] == {"category": "25-34", "confidence": "medium"}
    assert str(totals) == ("messages=3 opened=4 interactions=3 duplicates=2 refused=0 missing=2")
    assert errors == ""


def test_table(tmp_path: Path) -> None:
    capture = tmp_path / "hub.jsonl"
    capture.write_bytes(line(1, health=2))
    _, out, _ = run(capture, table=True)
    head, visit, health = out.splitlines()
    assert head == TABLE_HEAD
    assert visit.split()[:6] == ["lobby-1", "1", "2026-01-01", "00:00", "12.3s", "4.5s"]
    assert visit.split()[6:] == ["25-34", "(medium)", "female", "(high)", "happy", "(low)"]
    assert health.split() == ["lobby-1", "2", "health"]


def test_damage_is_reported_and_reading_goes_on(tmp_path: Path) -> None:
    capture = tmp_path / "hub.jsonl"
    capture.write_bytes(line(1) + b"{}\n" + line(2).replace(b"lobby-1", b"shelf-1") + line(3))
    totals, out, errors = run(capture)
    assert (totals.messages, totals.opened, totals.refused) == (4, 2, 2)
    assert len(out.splitlines()) == 2
    assert "refused: line 2 of the capture is no hub message" in errors
    assert "came over the connection" in errors


def test_a_record_in_two_captures_counts_once(tmp_path: Path) -> None:
    capture = tmp_path / "hub.jsonl"
    capture.write_bytes(line(1))
    totals, _, _ = run(capture, capture, capture)
    assert (totals.opened, totals.duplicates) == (1, 2)


def test_a_line_that_is_still_being_written_is_left_out() -> None:
    whole = line(1)
    assert len(list(messages([whole, whole[:-1]]))) == 1


def test_missing_capture(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="cannot be read"):
        run(tmp_path / "none")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(line(1))))
    totals, _, _ = run(Path("-"))
    assert totals.opened == 1


def test_it_ends_when_nobody_reads_on(tmp_path: Path) -> None:
    capture = tmp_path / "hub.jsonl"
    capture.write_bytes(line(1) + line(2))
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    with os.fdopen(writing_end, "w") as out:
        totals = open_captures([capture], reader(), out=out)
    assert totals.messages == 1


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_any_line_is_a_message_or_an_error(text: bytes) -> None:
    for message in messages([text.replace(b"\n", b"") + b"\n"]):
        assert isinstance(message, Captured | SealError)


@pytest.mark.parametrize("text", [b'{"x":' + b"[" * 100_000, b'{"device":"\xff"}'])
def test_what_is_no_text_or_has_no_end_is_an_error(text: bytes) -> None:
    (message,) = messages([text + b"\n"])
    assert isinstance(message, SealError)
