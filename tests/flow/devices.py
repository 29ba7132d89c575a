"""Devices with real keys that seal and sign real records."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from firmware.recipient import PrivateKey
from firmware.record import (
    AgeCategory,
    AgeEstimate,
    Expression,
    ExpressionEstimate,
    Gender,
    GenderEstimate,
    Interaction,
)
from firmware.sealing import Recipient, pack, seal, seal_health, sign
from flow.ingest.opening import Message


@dataclass
class Device:
    name: str
    key: ec.EllipticCurvePrivateKey

    def sign(self, data: bytes, /) -> bytes:
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def certificate(self) -> str:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=3650))
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def sealed(self, number: int, record: Interaction, to: PrivateKey) -> bytes:
        recipient = Recipient.from_bytes(to.public_bytes())
        return sign(seal(record, number=number, device=self.name, recipient=recipient), self)

    def sealed_health(self, number: int, body: dict[str, object], to: PrivateKey) -> bytes:
        recipient = Recipient.from_bytes(to.public_bytes())
        return sign(seal_health(body, number=number, device=self.name, recipient=recipient), self)

    def message(self, envelopes: list[bytes], enqueued_utc_s: int) -> Message:
        return Message(pack(envelopes)[0], self.name, enqueued_utc_s, 0)


def visit(
    start_utc_s: int,
    gender: Gender = Gender.FEMALE,
    age: AgeCategory = AgeCategory.A25_34,
    expression: Expression = Expression.HAPPY,
    **more: object,
) -> Interaction:
    fields: dict[str, object] = {"dwell_ms": 8000, "attention_ms": 3000, **more}
    if age is AgeCategory.CHILD:
        return Interaction(start_utc_s=start_utc_s, age=AgeEstimate(age, "high"), **fields)  # type: ignore[arg-type]
    return Interaction(
        start_utc_s=start_utc_s,
        gender=GenderEstimate(gender, "none" if gender is Gender.UNKNOWN else "high"),
        age=AgeEstimate(age, "none" if age is AgeCategory.UNKNOWN else "medium"),
        expression=ExpressionEstimate()
        if expression is Expression.UNKNOWN
        else ExpressionEstimate(expression, {expression: 100}, "high"),
        **fields,  # type: ignore[arg-type]
    )
