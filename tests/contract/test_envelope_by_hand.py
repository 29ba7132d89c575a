"""An envelope is what docs/record.md says: opened here step by step, without cryptography's HPKE.

Every step is written from RFC 9180 (sections 4 and 5) and draft-connolly-cfrg-xwing-kem (5.3), so
that somebody with another language and library can write a reader from the page alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests import keys

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "v1.json").read_text())["envelopes"]
HKDF_SHA256, AES_256_GCM = b"\x00\x01", b"\x00\x02"
DHKEM_X25519, XWING = b"\x00\x20", b"\x64\x7a"
XWING_LABEL = b"\\.//^\\"


def extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")


def expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    text = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, text + b"\x01", "sha256")[:length]  # one block is enough for ≤ 32


def agreed(private: bytes, public: bytes) -> bytes:
    own = x25519.X25519PrivateKey.from_private_bytes(private)
    return own.exchange(x25519.X25519PublicKey.from_public_bytes(public))


def public_of(private: bytes) -> bytes:
    return x25519.X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def x25519_secret(seed: bytes, encapsulated: bytes) -> bytes:
    suite = b"KEM" + DHKEM_X25519
    context = encapsulated + public_of(seed)
    eae = extract(suite, b"", b"eae_prk", agreed(seed, encapsulated))
    return expand(suite, eae, b"shared_secret", context, 32)


def xwing_secret(seed: bytes, encapsulated: bytes) -> bytes:
    both = hashlib.shake_256(seed).digest(96)
    lattice, curve = encapsulated[:1088], encapsulated[1088:]
    first = mlkem.MLKEM768PrivateKey.from_seed_bytes(both[:64]).decapsulate(lattice)
    second = agreed(both[64:], curve)
    return hashlib.sha3_256(first + second + curve + public_of(both[64:]) + XWING_LABEL).digest()


def opened(kem: bytes, secret: bytes, info: bytes, ciphertext: bytes) -> bytes:
    suite = b"HPKE" + kem + HKDF_SHA256 + AES_256_GCM
    context = b"\x00" + extract(suite, b"", b"psk_id_hash", b"")
    context += extract(suite, b"", b"info_hash", info)
    schedule = extract(suite, secret, b"secret", b"")
    key = expand(suite, schedule, b"key", context, 32)
    nonce = expand(suite, schedule, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_page_is_enough_to_open_an_envelope(vector: dict[str, Any]) -> None:
    signed = bytes.fromhex(vector["signed_envelope"])
    header, rest = signed[: 24 + signed[23]], signed[24 + signed[23] : -64]
    assert (header[:5], int.from_bytes(header[15:23], "big")) == (b"FLOW\x01", vector["number"])
    seed = keys.seed(f"{vector['suite']} vectors")
    if header[5] == 1:
        assert vector["suite"] == "MLKEM768_X25519"
        text = opened(XWING, xwing_secret(seed, rest[:1120]), header, rest[1120:])
    else:
        assert vector["suite"] == "X25519"
        text = opened(DHKEM_X25519, x25519_secret(seed, rest[:32]), header, rest[32:])
    assert len(text) == 512
    assert json.loads(text) == vector["record"]
