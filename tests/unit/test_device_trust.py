"""Whose signatures count: the certificates in a folder, with or without roots."""

from __future__ import annotations

import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from firmware.device_trust import DeviceTrust
from firmware.errors import SealError
from provisioning.authority import Authority, pem
from tests import keys

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
FIRST, SECOND = keys.Signing("first"), keys.Signing("second")


def write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def request(signing: keys.Signing, device: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(signing.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_every_key_of_a_device_counts_newest_first(tmp_path: Path) -> None:
    later = START + datetime.timedelta(days=20)
    write(tmp_path, "lobby-1/a.pem", FIRST.certificate("lobby-1", START))
    write(tmp_path, "lobby-1/b.pem", SECOND.certificate("lobby-1", later))
    write(tmp_path, "shelf.crt", FIRST.certificate("shelf-1", START))
    write(tmp_path, "notes.txt", b"not a certificate")
    trust = DeviceTrust.from_folder(tmp_path)
    assert len(trust) == 2
    assert trust.keys("lobby-1") == (SECOND.private.public_key(), FIRST.private.public_key())
    assert trust.keys("shelf-1") == (FIRST.private.public_key(),)
    assert trust.keys("unknown") == ()


def test_certificates_of_an_authority_are_checked_against_its_root(tmp_path: Path) -> None:
    root = Authority.root("root")
    batch = root.batch("batch")
    write(tmp_path, "lobby-1.pem", batch.device(request(FIRST, "lobby-1")))
    write(tmp_path, "batch.pem", pem(batch.certificate))
    assert len(DeviceTrust.from_folder(tmp_path, pem(root.certificate))) == 1
    with pytest.raises(SealError, match=r"lobby-1\.pem does not chain"):
        DeviceTrust.from_folder(tmp_path, pem(Authority.root("root").certificate))


def test_self_made_certificate_is_refused_where_roots_are_given(tmp_path: Path) -> None:
    write(tmp_path, "thief.pem", FIRST.certificate("lobby-1", START))
    with pytest.raises(SealError, match="does not chain"):
        DeviceTrust.from_folder(tmp_path, pem(Authority.root("root").certificate))


def test_a_device_cannot_issue_certificates(tmp_path: Path) -> None:
    batch = Authority.root("root").batch("batch")
    leaf = x509.load_pem_x509_certificates(batch.device(request(FIRST, "lobby-1")))
    thief = Authority(leaf[0], FIRST.private, tuple(leaf))
    write(tmp_path, "shelf-1.pem", thief.device(request(SECOND, "shelf-1")))
    with pytest.raises(SealError, match="does not chain"):
        DeviceTrust.from_folder(tmp_path, pem(batch.certificate))


def test_expired_certificates_still_open_old_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Past(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Past:
            return cls(2020, 1, 1, tzinfo=tz)

    clock = SimpleNamespace(datetime=Past, timedelta=datetime.timedelta, timezone=datetime.timezone)
    monkeypatch.setattr("provisioning.authority.datetime", clock)
    batch = Authority.root("root").batch("batch", days=700)
    write(tmp_path, "lobby-1.pem", batch.device(request(FIRST, "lobby-1"), days=300))
    assert len(DeviceTrust.from_folder(tmp_path, pem(batch.certificate))) == 1


def certificate(
    name: x509.Name, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=1))
        .sign(key, algorithm)
        .public_bytes(serialization.Encoding.PEM)
    )


def common_name(*values: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value) for value in values])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no PEM certificate"),
        (b"\xff" * 100, "is no PEM certificate"),
        (FIRST.public_pem, "is no PEM certificate"),
        (FIRST.certificate("a device", START), "names no device"),
        (certificate(x509.Name([]), FIRST.private), "names no device"),
        (certificate(common_name("a", "b"), FIRST.private), "names no device"),
        (certificate(common_name("a"), ec.generate_private_key(ec.SECP384R1())), "no P-256 key"),
        (certificate(common_name("a"), ed25519.Ed25519PrivateKey.generate()), "no P-256 key"),
    ],
)
def test_files_that_are_no_device_certificate(tmp_path: Path, content: bytes, why: str) -> None:
    write(tmp_path, "x.pem", content)
    with pytest.raises(SealError, match=why) as caught:
        DeviceTrust.from_folder(tmp_path)
    assert "x.pem" in caught.value.problem


@pytest.mark.parametrize("name", ["missing", "file.pem"])
def test_folder_that_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.pem").touch()
    with pytest.raises(SealError, match="cannot be read"):
        DeviceTrust.from_folder(tmp_path / name)
