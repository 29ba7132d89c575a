"""What was published stays true: the vectors of every version, and the JSON Schema."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from firmware.device_trust import DeviceTrust
from firmware.envelope import Suite
from firmware.errors import SealError
from firmware.health import Health
from firmware.reader import Reader
from firmware.record import SCHEMA_VERSION, Interaction, json_schema
from firmware.sealing import seal_health, sign
from tests import keys

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "record.schema.json"
FILES = sorted((ROOT / "tests" / "vectors").glob("v*.json"))
VECTORS = [json.loads(path.read_text()) for path in FILES]
ENVELOPES = [(file, one) for file in VECTORS for one in file["envelopes"]]


def reader(file: dict[str, Any]) -> Reader:
    device = serialization.load_pem_public_key(file["device_public_key"].encode())
    assert isinstance(device, ec.EllipticCurvePublicKey)
    private = [keys.private_key("vectors", suite) for suite in Suite]
    return Reader(private, DeviceTrust({file["device"]: [device]}))


@pytest.mark.parametrize(("file", "vector"), ENVELOPES, ids=[one["name"] for _, one in ENVELOPES])
def test_every_envelope_ever_released_opens(file: dict[str, Any], vector: dict[str, Any]) -> None:
    signed = bytes.fromhex(vector["signed_envelope"])
    opened = reader(file).open(signed, file["device"])
    assert opened.number == vector["number"]
    assert msgspec.to_builtins(opened.record) == vector["record"]
    if opened.kind == "interaction":
        jsonschema.validate(vector["record"], json_schema())


@pytest.mark.parametrize("file", VECTORS, ids=[path.stem for path in FILES])
def test_every_body_ever_released_reads(file: dict[str, Any]) -> None:
    for body in file["bodies"]:
        reading = reader(file).read(bytes.fromhex(body["body"]), file["device"])
        assert (len(reading.records), reading.refused) == (body["envelopes"], [])


def test_there_are_vectors_of_every_version() -> None:
    schemas = {one["record"]["schema"] for _, one in ENVELOPES}
    assert schemas == set(range(1, SCHEMA_VERSION + 1))
    assert [file["version"] for file in VECTORS] == list(range(1, len(VECTORS) + 1))


def test_published_schema_is_the_codes() -> None:
    """Write it again with `python -m tests.contract.test_record_contract` after a change."""
    assert json.loads(SCHEMA.read_text()) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "wrong",
    [{"name": "Ada"}, {"dwell_ms": 101}, {"gender": {"value": "x"}}, {"model_set": "portrait"}],
)
def test_published_schema_refuses_what_the_code_refuses(wrong: dict[str, Any]) -> None:
    record = {"start_utc_s": 0, "dwell_ms": 100, **wrong}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, json.loads(SCHEMA.read_text()))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(record, Interaction)


def test_the_page_lists_every_field() -> None:
    page = (ROOT / "docs" / "record.md").read_text(encoding="utf-8")
    for field in Interaction.__struct_fields__:
        assert f"| `{field}` |" in page


def test_the_health_record_of_the_code_can_be_sealed() -> None:
    counted = {"waiting": 1, "delivered": 2, "dropped": 0}
    body = Health().record(**counted, paused=False, pids={"vision": os.getpid()})
    recipient = keys.recipient()
    signer = keys.Signing("device")
    sealed = seal_health(body, number=1, device="lobby-1", recipient=recipient)
    trust = DeviceTrust({"lobby-1": [signer.private.public_key()]})
    opened = Reader([keys.private_key()], trust).open(sign(sealed, signer), "lobby-1")
    assert opened.record == body


def test_vectors_need_their_own_device_and_key() -> None:
    file, vector = ENVELOPES[0]
    signed = bytes.fromhex(vector["signed_envelope"])
    opener = reader(file)
    opener.trust = DeviceTrust({file["device"]: [keys.Signing("other").private.public_key()]})
    with pytest.raises(SealError):
        opener.open(signed, file["device"])


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
