"""Sealed hub messages by the hundred thousand, from real keys, as capture files."""

from __future__ import annotations

import base64
import json
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from firmware.recipient import PrivateKey
from firmware.record import AgeCategory, Expression, Gender
from firmware.sealing import Recipient, pack, seal, sign
from tests.flow.devices import Device, visit

DEVICES = 5
"""For each worker's share."""
START = 1_780_000_000
_GENDERS, _AGES, _EXPRESSIONS = tuple(Gender), tuple(AgeCategory), tuple(Expression)


def seal_all(folder: Path, shares: int, records: int, key: PrivateKey) -> dict[str, str]:
    """Write `share-<n>.jsonl` with `records` in all; returns device → certificate."""
    with ProcessPoolExecutor(2) as pool:
        jobs = [
            pool.submit(_seal_share, folder, share, records // shares, key.public_bytes())
            for share in range(shares)
        ]
        return {device: pem for job in jobs for device, pem in job.result().items()}


def _seal_share(folder: Path, share: int, records: int, public: bytes) -> dict[str, str]:
    chance = random.Random(share)
    recipient = Recipient.from_bytes(public)
    devices = [
        Device(f"bench-{share}-{at}", ec.generate_private_key(ec.SECP256R1()))
        for at in range(DEVICES)
    ]
    with (folder / f"share-{share}.jsonl").open("w") as file:
        waiting: dict[str, list[bytes]] = {device.name: [] for device in devices}
        for count in range(records):
            device, number = devices[count % DEVICES], count // DEVICES
            at = START + number * 20
            record = visit(
                at - at % 60, chance.choice(_GENDERS), chance.choice(_AGES),
                chance.choice(_EXPRESSIONS), dwell_ms=100 * chance.randrange(5, 600),
                attention_ms=0,
            )  # fmt: skip
            sealed = seal(record, number=number, device=device.name, recipient=recipient)
            held = waiting[device.name]
            held.append(sign(sealed, device))
            if len(held) == 2 or count >= records - DEVICES:
                body = base64.b64encode(pack(held)[0]).decode()
                line = {"device": device.name, "at": at + 30, "body": body}
                file.write(json.dumps(line) + "\n")
                held.clear()
    return {device.name: device.certificate() for device in devices}
