"""Writes tests/vectors/v1.json: `python -m tests.vectors.make_v1`.

HPKE and ECDSA draw random numbers, so each run gives other bytes. The committed file is never made
again: it stands for what devices of version 1 have sent, and every later reader must open it.
All private keys in it are derived in tests/keys.py from public labels, and protect nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from firmware.envelope import Suite, pack
from firmware.record import (
    AgeCategory,
    AgeEstimate,
    Expression,
    ExpressionEstimate,
    Gender,
    GenderEstimate,
    HealthBody,
    Interaction,
)
from firmware.sealing import seal, seal_health, sign
from tests import keys

DEVICE = "vector-1"
ABOUT = (
    "Envelopes of version 1. The recipient's private seed for a suite is SHA-256 of 'FLOW sensor, "
    "public test seed: <suite> vectors'; it protects nothing. docs/record.md describes the bytes."
)
PATH = Path(__file__).with_name("v1.json")
RECORDS: dict[str, Interaction | HealthBody] = {
    "nothing is known": Interaction(start_utc_s=0, clock_synchronised=False, dwell_ms=500),
    "everything is known": Interaction(
        start_utc_s=1_767_225_600,
        dwell_ms=12_300,
        attention_ms=4_500,
        gender=GenderEstimate(Gender.FEMALE, "high"),
        age=AgeEstimate(AgeCategory.A25_34, "medium"),
        expression=ExpressionEstimate(
            Expression.HAPPY, {Expression.HAPPY: 70, Expression.NEUTRAL: 30}, "low"
        ),
        model_set="0123abcd",
    ),
    "a child": Interaction(
        start_utc_s=1_767_225_660,
        dwell_ms=86_400_000,
        attention_ms=86_400_000,
        age=AgeEstimate(AgeCategory.CHILD, "high"),
    ),
    "health": {
        "schema": 1,
        "at_utc_s": 1_767_225_600,
        "firmware": "0.1.0",
        "clock_synchronised": True,
        "guarantees_missing": ["locked memory"],
        "resident_kb": {"vision": 160_000},
        "temperature_c": None,
    },
}


def vectors() -> dict[str, Any]:
    signer = keys.Signing("vectors")
    envelopes, bodies = [], []
    for suite in Suite:
        recipient = keys.recipient("vectors", suite)
        signed = []
        for number, (name, record) in enumerate(RECORDS.items(), 1):
            options: Any = {"number": number, "device": DEVICE, "recipient": recipient}
            if isinstance(record, Interaction):
                envelope = seal(record, **options)
            else:
                envelope = seal_health(record, **options)
            signed.append(sign(envelope, signer))
            envelopes.append(
                {
                    "name": f"{suite.name}: {name}",
                    "suite": suite.name,
                    "number": number,
                    "signed_envelope": signed[-1].hex(),
                    "record": msgspec.to_builtins(record),
                }
            )
        body, taken = pack(signed)
        bodies.append({"suite": suite.name, "envelopes": taken, "body": body.hex()})
    return {
        "version": 1,
        "about": ABOUT,
        "device": DEVICE,
        "device_public_key": signer.public_pem.decode(),
        "envelopes": envelopes,
        "bodies": bodies,
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1) + "\n", encoding="ascii")
