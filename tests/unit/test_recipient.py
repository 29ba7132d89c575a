"""The recipient's key pair: standard derivation, private files, locks, clear refusals."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import recipient
from firmware.envelope import Suite
from firmware.errors import SealError
from firmware.recipient import PrivateKey, keygen
from firmware.sealing import HPKE, Recipient
from tests import keys

XWING_SEED = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26"
XWING_PUBLIC_BEGINS = "e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5"
XWING_PUBLIC_ENDS = "859edb06eff389b27dce59844570216223593d4ba32d9abac8cd049040ef6534"


def test_hybrid_key_is_derived_as_x_wing_says() -> None:
    """First vector of draft-connolly-cfrg-xwing-kem, appendix C (both ends of its public key)."""
    public = PrivateKey(Suite.MLKEM768_X25519, bytes.fromhex(XWING_SEED))._public.hex()
    assert public.startswith(XWING_PUBLIC_BEGINS)
    assert public.endswith(XWING_PUBLIC_ENDS)


def test_x25519_key_is_derived_as_its_specification_says() -> None:
    """Alice's key pair in RFC 7748, section 6.1."""
    seed = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
    public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert PrivateKey(Suite.X25519, bytes.fromhex(seed))._public.hex() == public


@pytest.mark.parametrize("suite", Suite)
def test_key_pair_files(tmp_path: Path, suite: Suite) -> None:
    secret, public = keygen(tmp_path / "keys", suite)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    private = PrivateKey.load(secret)
    theirs = Recipient.from_bytes(public.read_bytes())
    assert private.suite is theirs.suite is suite
    assert private.key_id == theirs.key_id
    assert secret.name == f"recipient-{private.key_id.hex()}.key"
    sealed = HPKE[suite].encrypt(b"text", theirs._key, b"header")
    assert private.decrypt(sealed, b"header") == b"text"


def test_two_key_pairs_differ(tmp_path: Path) -> None:
    assert keygen(tmp_path)[0] != keygen(tmp_path)[0]


def test_public_file_holds_no_secret(tmp_path: Path) -> None:
    private = PrivateKey.load(keygen(tmp_path)[0])
    assert private._seed not in private.public_bytes()
    assert b"seed" not in private.public_bytes()


def test_locked_key_needs_its_passphrase(tmp_path: Path) -> None:
    secret, _ = keygen(tmp_path, Suite.X25519, b"correct horse")
    opened = PrivateKey.load(secret, b"correct horse")
    assert opened.key_id.hex() in secret.name
    with pytest.raises(SealError, match="is locked"):
        PrivateKey.load(secret)
    with pytest.raises(SealError, match="does not unlock"):
        PrivateKey.load(secret, b"wrong horse")


def test_two_locks_of_one_key_differ() -> None:
    private = keys.private_key()
    assert private.to_bytes(b"x") != private.to_bytes(b"x")


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret, _ = keygen(tmp_path, Suite.X25519)
    secret.chmod(0o640)
    with pytest.raises(SealError, match="read by others") as caught:
        PrivateKey.load(secret)
    assert "chmod 600" in caught.value.remedy


def test_locked_key_may_lie_open(tmp_path: Path) -> None:
    secret, _ = keygen(tmp_path, Suite.X25519, b"x")
    secret.chmod(0o644)
    assert PrivateKey.load(secret, b"x").suite is Suite.X25519


def test_missing_key_file(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="cannot be read"):
        PrivateKey.load(tmp_path / "none.key")


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SealError, match="can be written"):
        keygen(tmp_path / "file")


PLAIN = keys.private_key().to_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b'{"type":"\xff"}',
        keys.private_key().public_bytes(),
        PLAIN.replace(b'"version":1', b'"version":2'),
        PLAIN.replace(b'"X25519"', b'"RSA"'),
        PLAIN.replace(b'"X25519"', b'"MLKEM768_X25519"'),  # key id belongs to another suite
        PLAIN.replace(b'"seed":"', b'"seed":"AAAA'),
        PLAIN.replace(b'"seed":"', b'"seed":"!'),
        PLAIN.replace(b"{", b'{"more":1,'),
    ],
)
def test_damaged_private_key_files(content: bytes) -> None:
    with pytest.raises(SealError, match="private key"):
        PrivateKey.from_bytes(content)


@pytest.mark.parametrize("field", [b'"salt":"', b'"nonce":"'])
def test_damaged_lock(field: bytes) -> None:
    damaged = keys.private_key().to_bytes(b"x").replace(field, field + b"AAAA")
    with pytest.raises(SealError, match="wrong length"):
        PrivateKey.from_bytes(damaged, b"x")


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=1400), st.sampled_from(Suite))
def test_any_ciphertext_is_a_seal_error(ciphertext: bytes, suite: Suite) -> None:
    with pytest.raises(SealError, match="does not open"):
        keys.private_key(suite=suite).decrypt(ciphertext, b"")


def test_guessing_a_passphrase_costs_128_mib() -> None:
    ours = recipient._stretched(b"x", bytes(16))
    theirs = hashlib.scrypt(b"x", salt=bytes(16), n=2**17, r=8, p=1, maxmem=2**28, dklen=32)
    assert ours == theirs
