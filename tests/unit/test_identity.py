"""Keys, certificates, authorities, and what a power cut leaves of a roll-over."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import (
    ClientVerifier,
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from firmware.errors import ProvisioningError
from firmware.signature import verify
from firmware.uplink import identity, rotation
from firmware.uplink.identity import Certificate, Identity, KeyFile
from provisioning.authority import Authority

YEAR = datetime.timedelta(days=365)


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority.root("Root")


@pytest.fixture(scope="module")
def batch(root: Authority) -> Authority:
    return root.batch("Batch")


@pytest.fixture
def folder(tmp_path: Path, batch: Authority) -> Path:
    """The identity partition of `sensor-1`."""
    request = identity.request(tmp_path, "sensor-1")
    (tmp_path / identity.CERTIFICATE_FILE).write_bytes(batch.device(request))
    return tmp_path


def client_verifier(root: Authority) -> ClientVerifier:
    """Verifies as a TLS server does, but asks for no alternative name: a device has its CN."""
    device = ExtensionPolicy.webpki_defaults_ee().may_be_present(
        x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
    )
    return (
        PolicyBuilder()
        .store(Store([root.certificate]))
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=device)
        .build_client_verifier()
    )


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


# ---- keys --------------------------------------------------------------------------------------


def test_a_key_is_for_its_owner_only_and_signs_what_the_reader_verifies(tmp_path: Path) -> None:
    key = KeyFile.create(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    public = serialization.load_der_public_key(key.public_key())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert verify(public, key.sign(b"FLOW"), b"FLOW")
    assert not verify(public, key.sign(b"FLOW"), b"WOLF")


def test_signatures_have_one_length_though_numbers_in_them_may_be_short(tmp_path: Path) -> None:
    key = KeyFile.create(tmp_path / "key")
    assert {len(key.sign(b"FLOW")) for _ in range(4000)} == {64}  # one in 128 has a zero in front


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    KeyFile.create(tmp_path / "key")
    with pytest.raises(ProvisioningError, match="cannot be made"):
        KeyFile.create(tmp_path / "key")


def _other_kinds() -> list[bytes]:
    keys = (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1()))
    return [
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for key in keys
    ]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 300, *_other_kinds()])
def test_what_is_no_p256_key_is_refused_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ProvisioningError) as caught:
        KeyFile(path)
    assert caught.value.remedy


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    KeyFile.create(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ProvisioningError, match="read by others"):
        KeyFile(tmp_path / "key")


def test_one_partition_belongs_to_one_device(tmp_path: Path) -> None:
    assert identity.request(tmp_path, "sensor-1") != identity.request(tmp_path, "sensor-1")
    assert (tmp_path / identity.ID_FILE).read_text() == "sensor-1\n"
    with pytest.raises(ProvisioningError, match="belongs to device 'sensor-1'"):
        identity.request(tmp_path, "sensor-2")


# ---- certificates ------------------------------------------------------------------------------


def test_a_device_certificate_leads_to_the_root_for_its_purpose_only(
    folder: Path, root: Authority
) -> None:
    leaf, *above = x509.load_pem_x509_certificates(
        (folder / identity.CERTIFICATE_FILE).read_bytes()
    )
    assert len(above) == 1
    assert client_verifier(root).verify(leaf, above).chain[-1] == root.certificate
    with pytest.raises(VerificationError):
        client_verifier(Authority.root("Root")).verify(leaf, above)
    constraints = [
        one.extensions.get_extension_for_class(x509.BasicConstraints).value
        for one in (root.certificate, above[0], leaf)
    ]
    assert [(one.ca, one.path_length) for one in constraints] == [
        (True, 1),
        (True, 0),
        (False, None),
    ]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign


def test_a_servers_certificate_verifies_for_its_names(root: Authority) -> None:
    pem, _ = root.server(["hub.example", "127.0.0.9"])
    leaf = x509.load_pem_x509_certificate(pem)
    verifier = PolicyBuilder().store(Store([root.certificate]))
    verifier.build_server_verifier(x509.DNSName("hub.example")).verify(leaf, [])
    with pytest.raises(VerificationError):
        verifier.build_server_verifier(x509.DNSName("other.example")).verify(leaf, [])


def test_a_batch_cannot_make_another_authority_that_counts(
    root: Authority, batch: Authority
) -> None:
    below = batch.batch("Below")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sensor-1")])
    )
    request = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    leaf, *above = x509.load_pem_x509_certificates(below.device(request))
    with pytest.raises(VerificationError, match="path length"):
        client_verifier(root).verify(leaf, above)


@pytest.mark.parametrize("name", ["Sensor-1", "-sensor", "sensor-", "a b", "", "ø"])
def test_a_request_for_no_device_id_is_refused(batch: Authority, tmp_path: Path, name: str) -> None:
    key = KeyFile.create(tmp_path / "key")
    request = key.request(name) if name else key.request("x").replace(b"MI", b"XX")
    with pytest.raises(ProvisioningError):
        batch.device(request)


@pytest.mark.parametrize("name", ["", "s" * 65])
def test_a_device_does_not_ask_for_a_name_that_no_certificate_can_hold(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ProvisioningError, match="no certificate can be for"):
        KeyFile.create(tmp_path / "key").request(name)


def test_a_request_must_be_for_the_device_that_is_expected(
    batch: Authority, tmp_path: Path
) -> None:
    request = KeyFile.create(tmp_path / "key").request("sensor-1")
    with pytest.raises(ProvisioningError, match="not 'sensor-2'"):
        batch.device(request, device="sensor-2")


def test_an_altered_request_is_refused(batch: Authority, tmp_path: Path) -> None:
    request = x509.load_pem_x509_csr(KeyFile.create(tmp_path / "key").request("sensor-1"))
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[der.index(b"sensor-1")] ^= 0x01
    altered = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(ProvisioningError, match="not signed by"):
        batch.device(altered)


def test_an_authority_is_saved_once_and_loaded_whole(tmp_path: Path, batch: Authority) -> None:
    batch.save(tmp_path, "batch")
    assert stat.S_IMODE((tmp_path / "batch.key").stat().st_mode) == 0o600
    again = Authority.load(tmp_path, "batch")
    assert again.certificate == batch.certificate
    assert again.chain == batch.chain
    with pytest.raises(ProvisioningError, match="cannot be written"):
        batch.save(tmp_path, "batch")
    (tmp_path / "batch.key").write_text("nonsense")
    with pytest.raises(ProvisioningError, match="cannot be read"):
        Authority.load(tmp_path, "batch")


def test_an_expired_or_early_certificate_names_the_clock(folder: Path) -> None:
    key = KeyFile(folder / identity.KEY_FILE)
    certificate = Certificate.load(folder / identity.CERTIFICATE_FILE)
    certificate.check(key, "sensor-1")
    assert certificate.days_left() == 364
    with pytest.raises(ProvisioningError, match="expired on") as expired:
        certificate.check(key, "sensor-1", now() + 2 * YEAR)
    with pytest.raises(ProvisioningError, match="begins on") as early:
        certificate.check(key, "sensor-1", now() - YEAR)
    assert "clock" in expired.value.remedy
    assert "clock" in early.value.remedy
    assert certificate.validity(now() - YEAR) == "early"


# ---- roll-over ---------------------------------------------------------------------------------


def offered(folder: Path, batch: Authority) -> rotation.Rotation:
    """A rotation with a candidate."""
    made = rotation.Rotation(folder, Identity.load(folder, "sensor-1"))
    assert made.accept(batch.device(made.request().encode()).decode())
    return made


def test_a_promoted_identity_is_the_one_in_use(folder: Path, batch: Authority) -> None:
    old = Identity.load(folder, "sensor-1")
    made = offered(folder, batch)
    candidate = made.take_candidate()
    assert candidate
    assert made.take_candidate() is None  # one trial only
    made.promote()
    new = Identity.load(folder, "sensor-1")
    assert new.key.public_key() == candidate.key.public_key() != old.key.public_key()
    assert made.current.certificate == new.certificate


def test_a_power_cut_between_the_two_renames_is_mended(folder: Path, batch: Authority) -> None:
    offered(folder, batch)
    (folder / rotation.NEXT_KEY_FILE).replace(folder / identity.KEY_FILE)
    with pytest.raises(ProvisioningError, match="another key"):
        Identity.load(folder, "sensor-1")
    rotation.settle(folder)
    Identity.load(folder, "sensor-1")


def test_a_power_cut_before_the_renames_changes_nothing(folder: Path, batch: Authority) -> None:
    before = Identity.load(folder, "sensor-1")
    offered(folder, batch)
    rotation.settle(folder)
    assert (folder / rotation.NEXT_CERTIFICATE_FILE).exists()
    assert Identity.load(folder, "sensor-1").certificate == before.certificate
    assert offered(folder, batch).take_candidate()  # and the rotation can still be finished


def test_a_left_over_certificate_for_no_key_is_removed(folder: Path, batch: Authority) -> None:
    offered(folder, batch)
    (folder / rotation.NEXT_KEY_FILE).unlink()
    rotation.settle(folder)
    assert not (folder / rotation.NEXT_CERTIFICATE_FILE).exists()
    Identity.load(folder, "sensor-1")


def test_the_certificate_in_use_is_no_news(folder: Path) -> None:
    made = rotation.Rotation(folder, Identity.load(folder, "sensor-1"))
    assert not made.accept((folder / identity.CERTIFICATE_FILE).read_text())
    assert made.candidate is None
