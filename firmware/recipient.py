"""The recipient's private key: made, kept and used by the analytics side, never by a device.

Both suites derive their key pair from a 32-byte seed, as their specifications do: X25519 takes it
as the private key (RFC 7748), the hybrid expands it with SHAKE256 into the 64-byte seed of
ML-KEM-768 and the X25519 private key (X-Wing, draft-connolly-cfrg-xwing-kem, section 5.2). The
private key file holds that seed, in one line of JSON, as it is or locked with a passphrase.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from firmware.envelope import Suite
from firmware.errors import SealError
from firmware.sealing import HPKE, PublicKeyFile, key_id

_SEED_BYTES = 32
_MLKEM_SEED_BYTES = 64
_SALT_BYTES = 16
_NONCE_BYTES = 12


class _Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="flow-recipient-private"):
    version: Literal[1]
    suite: str
    key_id: str
    seed: bytes


class _Locked(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="flow-recipient-private-locked"
):
    """`seed` is AES-256-GCM under scrypt(passphrase, `salt`, N = 2¹⁷, r = 8, p = 1)."""

    version: Literal[1]
    suite: str
    key_id: str
    salt: bytes
    nonce: bytes
    seed: bytes


class PrivateKey:
    """Opens what was sealed to its public half.

    Args:
        suite: the HPKE suite.
        seed: 32 secret bytes.

    Raises:
        SealError: the seed has another length.
    """

    def __init__(self, suite: Suite, seed: bytes) -> None:
        if len(seed) != _SEED_BYTES:
            raise _bad_file("the seed has a wrong length")
        self.suite = suite
        self._seed = seed
        self._key: x25519.X25519PrivateKey | hpke.MLKEM768X25519PrivateKey
        if suite is Suite.X25519:
            self._key = x25519.X25519PrivateKey.from_private_bytes(seed)
            self._public = self._key.public_key().public_bytes_raw()
        else:
            both = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + 32)
            lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(both[:_MLKEM_SEED_BYTES])
            curve = x25519.X25519PrivateKey.from_private_bytes(both[_MLKEM_SEED_BYTES:])
            self._key = hpke.MLKEM768X25519PrivateKey(lattice, curve)
            self._public = (
                lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
            )
        self.key_id = key_id(suite, self._public)

    @classmethod
    def generate(cls, suite: Suite = Suite.MLKEM768_X25519) -> PrivateKey:
        """A new key from the system's random source."""
        return cls(suite, secrets.token_bytes(_SEED_BYTES))

    @classmethod
    def from_bytes(cls, content: bytes, passphrase: bytes | None = None) -> PrivateKey:
        """Take the content of a private key file.

        Raises:
            SealError: it is no such file, it is damaged, or the passphrase is missing or wrong.
        """
        file = _parsed(content)
        seed = file.seed if isinstance(file, _Plain) else _unlocked(file, passphrase)
        private = cls(Suite[file.suite], seed)
        if private.key_id.hex() != file.key_id:
            raise _bad_file("key and key id do not belong together")
        return private

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> PrivateKey:
        """Read a private key file.

        Raises:
            SealError: as `from_bytes`; or the file cannot be read, or holds a key that is not
                locked and that others on this machine may read.
        """
        try:
            content = path.read_bytes()
            exposed = path.stat().st_mode & 0o077
        except OSError as error:
            raise SealError(
                f"private key {path} cannot be read ({error.strerror})",
                remedy="pass the .key file of `flow-sensor keygen`",
            ) from error
        if exposed and isinstance(_parsed(content), _Plain):
            raise SealError(f"private key {path} may be read by others", remedy=f"chmod 600 {path}")
        return cls.from_bytes(content, passphrase)

    def to_bytes(self, passphrase: bytes | None = None) -> bytes:
        """The content of a private key file, locked when there is a passphrase."""
        name, identifier = self.suite.name, self.key_id.hex()
        if passphrase is None:
            return msgspec.json.encode(_Plain(1, name, identifier, self._seed)) + b"\n"
        salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
        locked = AESGCM(_stretched(passphrase, salt)).encrypt(nonce, self._seed, None)
        return msgspec.json.encode(_Locked(1, name, identifier, salt, nonce, locked)) + b"\n"

    def public_bytes(self) -> bytes:
        """The content of the public key file that devices seal to."""
        file = PublicKeyFile(1, self.suite.name, self.key_id.hex(), self._public)
        return msgspec.json.encode(file) + b"\n"

    def decrypt(self, ciphertext: bytes, info: bytes) -> bytes:
        """Open one HPKE message.

        Raises:
            SealError: it was sealed to another key or another header, or was altered.
        """
        try:
            return HPKE[self.suite].decrypt(ciphertext, self._key, info)
        except InvalidTag:
            raise SealError(
                "envelope does not open: altered on the way, or sealed to another key",
                remedy="compare its key id with this key's; drop it when they are the same",
            ) from None


def keygen(
    folder: Path, suite: Suite = Suite.MLKEM768_X25519, passphrase: bytes | None = None
) -> tuple[Path, Path]:
    """Make a key pair: `recipient-<key id>.key` (0600) and `.pub`.

    Returns: the paths of the private and the public file.

    Raises:
        SealError: the folder cannot be written.
    """
    private = PrivateKey.generate(suite)
    secret = folder / f"recipient-{private.key_id.hex()}.key"
    public = secret.with_suffix(".pub")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(secret, private.to_bytes(passphrase), 0o600)
        _write_new(public, private.public_bytes(), 0o644)
    except OSError as error:
        raise SealError(
            f"no key pair can be written into {folder} ({error.strerror})",
            remedy="name a folder that you may write",
        ) from error
    return secret, public


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _parsed(content: bytes) -> _Plain | _Locked:
    try:
        file = msgspec.json.decode(content, type=_Plain | _Locked)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _bad_file("not a private key file") from error
    if file.suite not in Suite.__members__:
        raise _bad_file(f"unknown suite {file.suite!r}")
    return file


def _unlocked(file: _Locked, passphrase: bytes | None) -> bytes:
    if passphrase is None:
        raise SealError("the private key is locked", remedy="give its passphrase")
    if len(file.nonce) != _NONCE_BYTES or len(file.salt) != _SALT_BYTES:
        raise _bad_file("salt or nonce has a wrong length")
    try:
        return AESGCM(_stretched(passphrase, file.salt)).decrypt(file.nonce, file.seed, None)
    except InvalidTag:
        raise SealError(
            "the private key does not unlock", remedy="give the passphrase it was locked with"
        ) from None


def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    """scrypt with 128 MiB (RFC 7914): the cost of one guess at a passphrase."""
    return Scrypt(salt=salt, length=32, n=1 << 17, r=8, p=1).derive(passphrase)


def _bad_file(why: str) -> SealError:
    return SealError(
        f"recipient's private key: {why}", remedy="use the .key file of `flow-sensor keygen`"
    )
