"""`flow-provision` against a hub that speaks Azure's REST interfaces, MQTT and DPS."""

from __future__ import annotations

import base64
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import key_statement, messages
from firmware.device_trust import DeviceTrust
from firmware.uplink import identity
from hil.faults.secrets import leaks, secrets
from hil.local_hub import Service, running
from provisioning.authority import Authority
from provisioning.cli import main
from tests import keys
from tests.integration.bench import ID_SCOPE, Device, loopback, uplink

# Here the SDK runs in the test's own process; it uses paho's first callback interface.
pytestmark = pytest.mark.filterwarnings("ignore:Callback API version 1:DeprecationWarning")


class Yard:
    """A hub, an authority's folder and a device's settings, as an operator has them."""

    def __init__(self, folder: Path, hub: Service, host: str) -> None:
        self.folder = folder
        self.hub = hub
        self.host = host
        self.service = str(folder / "hub" / "service.toml")
        self.ca = str(folder / "ca")
        self.settings = folder / "sensor.toml"
        self.settings.write_text(
            f'[hub]\nid_scope = "{ID_SCOPE}"\nprovisioning_host = "{host}"\n'
            f'trust = "{hub.trust}"\nretry_s = 0.05\nacknowledge_s = 10.0\n'
        )
        self.out = folder / "devices"

    def list(self, *lines: str) -> str:
        path = self.folder / f"list-{time.monotonic_ns()}.csv"
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    def register(self, listed: str, *more: str) -> int:
        words = ["register", listed, "--out", str(self.out), "--settings", str(self.settings)]
        return main([*words, *(more or ("--ca", self.ca, "--batch", "pilot"))])

    def device(self, name: str) -> Device:
        """A registered device, to be run."""
        directory = self.out / name
        tree = {
            "identity": {"directory": str(directory)},
            "hub": {
                "id_scope": ID_SCOPE,
                "provisioning_host": self.host,
                "trust": str(self.hub.trust),
                "retry_s": 0.05,
                "retry_most_s": 0.5,
            },
        }
        return Device(name, directory, tree, self.hub.capture)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("yard")
    host = loopback()
    options = ("--id-scope", ID_SCOPE, "--rest-port", "8443")
    with running(folder / "hub", host, *options) as hub:
        made = Yard(folder, hub, host)
        assert main(["init-ca", made.ca, "--batch", "pilot"]) == 0
        words = ["enroll", "--service", made.service, "--group", "pilot"]
        assert main([*words, "--certificate", f"{made.ca}/pilot.pem"]) == 0
        yield made


def test_a_batch_from_a_list_is_connected_and_its_certificates_are_kept(
    yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = yard.list("device,site,profile", "a-1,oslo,door", "a-2,bergen,shelf", "a-3,,")
    assert yard.register(listed) == 0
    assert "connected: 3 of 3" in capsys.readouterr().err
    found = {one["id"]: one["payload"] for one in yard.hub.registrations()}
    assert found["a-2"] == {"site": "bergen", "profile": "shelf"}
    assert stat.S_IMODE((yard.out / "a-1" / identity.KEY_FILE).stat().st_mode) == 0o600
    trust = DeviceTrust.from_folder(
        Path(yard.ca) / "issued", Path(yard.ca, "root.pem").read_bytes()
    )
    assert all(trust.keys(device) for device in ("a-1", "a-2", "a-3"))


def test_a_batch_can_be_repeated(yard: Yard) -> None:
    listed = yard.list("device", "b-1")
    assert yard.register(listed) == 0
    before = (yard.out / "b-1" / identity.CERTIFICATE_FILE).read_bytes()
    assert yard.register(listed) == 0
    assert (yard.out / "b-1" / identity.CERTIFICATE_FILE).read_bytes() == before


def test_one_refused_device_does_not_stop_the_others(
    yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    yard.hub.enrol("c-2", keys=[base64.b64encode(bytes(32)).decode()])  # not by certificate
    assert yard.register(yard.list("device", "c-1", "c-2", "c-3")) == 16
    said = capsys.readouterr().err
    assert "connected: 3 of 3, 1 failed" in said
    assert "c-2: the registration service refuses" in said
    assert {"c-1", "c-3"} <= {one["id"] for one in yard.hub.registrations()}


def test_devices_may_be_enrolled_one_by_one(yard: Yard, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    listed = yard.list("device", "d-1")
    assert main(["init-ca", other, "--batch", "lone"]) == 0
    assert yard.register(listed, "--ca", other, "--batch", "lone") == 16  # nobody knows it yet
    words = ["enroll", listed, "--service", yard.service, "--ca", other]
    assert main(words) == 0
    assert yard.register(listed, "--ca", other, "--batch", "lone") == 0


def test_a_group_may_share_a_key_from_which_each_devices_is_derived(
    yard: Yard, tmp_path: Path
) -> None:
    key = tmp_path / "group.key"
    key.write_bytes(base64.b64encode(bytes(range(40))) + b"\n")
    words = ["enroll", "--service", yard.service, "--group", "shared", "--group-key", str(key)]
    assert main(words) == 0
    assert yard.register(yard.list("device", "e-1"), "--group-key", str(key)) == 0
    path = yard.out / "e-1" / identity.SHARED_KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().strip() != key.read_bytes().strip()


def test_a_device_in_the_field_gets_a_new_certificate(
    yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert yard.register(yard.list("device", "f-1")) == 0
    device = yard.device("f-1")
    before = device.certificate
    words = ["rotate", "--device", "f-1", "--ca", yard.ca, "--batch", "pilot"]
    assert main([*words, "--service", yard.service]) == 16  # it is not online
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        assert main([*words, "--service", yard.service]) == 0
        up.send(*device.sealed(1))
        up.delivered(1)
    assert device.certificate != before
    assert "identity" not in yard.hub.twin("f-1")["desired"]  # the twin is no archive
    assert main(["show", "--device", "f-1", "--ca", yard.ca, "--service", yard.service]) == 0
    said = capsys.readouterr().out
    assert said.count("certificate f-1+") == 2
    assert "identity" in said


def test_a_revoked_device_is_shut_out_and_no_longer_believed(yard: Yard) -> None:
    assert yard.register(yard.list("device", "g-1", "g-2")) == 0
    with uplink(yard.device("g-1")) as up:
        up.wait_for(messages.UplinkReady)
        words = ["revoke", "--device", "g-1", "--ca", yard.ca, "--service", yard.service]
        assert main(words) == 0
        up.wait_for(messages.UplinkHealth, lambda one: one.last_fault == "refused")
    enabled = {one["name"]: one["enabled"] for one in yard.hub.enrolments()}
    assert enabled["g-1"] is False  # or its group would let it in again
    trust = DeviceTrust.from_folder(Path(yard.ca) / "issued")
    assert not trust.keys("g-1")
    assert trust.keys("g-2")


def test_the_operator_signs_and_sends_a_new_recipient(yard: Yard, tmp_path: Path) -> None:
    assert yard.register(yard.list("device", "h-1")) == 0
    public = tmp_path / "new.pub"
    public.write_bytes(keys.private_key("new").public_bytes())
    signed = tmp_path / "statement"
    operator = tmp_path / "operator.key"
    words = ["recipient", str(public), "--operator", str(operator), "--serial", "7"]
    words += ["--out", str(signed), "--device", "h-1", "--service", yard.service]
    assert main(words) == 0
    sent = yard.hub.twin("h-1")["desired"]["recipient"]["statement"]
    assert sent.encode() == signed.read_bytes()
    pinned = operator.with_suffix(".pem").read_bytes()
    assert key_statement.accept(signed.read_bytes(), operator_pem=pinned).serial == 7


def test_a_request_made_on_the_device_is_signed_at_the_operators(
    yard: Yard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["request", str(tmp_path / "device"), "--device", "i-1"]) == 0
    request = tmp_path / "i-1.csr"
    request.write_text(capsys.readouterr().out)
    out = tmp_path / "device" / identity.CERTIFICATE_FILE
    words = ["issue", str(request), "--ca", yard.ca, "--batch", "pilot", "--out", str(out)]
    assert main(words) == 0
    assert identity.Identity.load(tmp_path / "device", "i-1").certificate
    assert main(words) == 16  # nothing is overwritten


def test_nothing_that_is_printed_holds_a_secret(
    yard: Yard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "group.key"
    key.write_bytes(base64.b64encode(bytes(range(64, 128))) + b"\n")
    listed = yard.list("device,site,profile", "j-1,oslo,door")
    words = ["enroll", "--service", yard.service, "--group", "quiet", "--group-key", str(key)]
    assert main(words) == 0
    assert yard.register(listed, "--group-key", str(key)) == 0
    assert yard.register(yard.list("device", "j-2")) == 0
    for name in ("j-1", "j-2"):
        shown = ["show", "--device", name, "--ca", yard.ca, "--service", yard.service]
        assert main(shown) == 0
    assert main(["revoke", "--device", "j-2", "--ca", yard.ca, "--service", yard.service]) == 0
    said = "".join(capsys.readouterr()).encode()
    known = secrets(yard.folder, tmp_path)
    assert len(known) > 20
    assert b"enrolment group: quiet" in said
    assert leaks(said, known) == []


# ---- wrong input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["device", "Sensor 1"], ":2: 'Sensor 1' is no device id"),
        (["device", "s-1", "s-1"], "names 's-1' twice"),
        (["name", "s-1"], "no device id"),
        (["device,colour", "s-1,red"], "has the columns device, colour"),
        ([""], "has the columns none"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_is_done(
    yard: Yard, capsys: pytest.CaptureFixture[str], lines: list[str], problem: str
) -> None:
    assert yard.register(yard.list(*lines)) == 10
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        ('hub = "HostName=h"', 0o600, "connection string"),
        ('hub = "x"\nother = 1', 0o600, "other keys"),
        ("hub = ", 0o600, "cannot be read"),
        ("", 0o644, "may be read by others"),
        ("", 0o600, "lacks the connection"),
    ],
)
def test_a_wrong_service_file_is_refused_without_showing_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, mode: int, problem: str
) -> None:
    path = tmp_path / "service.toml"
    path.write_text(content)
    path.chmod(mode)
    assert main(["show", "--device", "x-1", "--service", str(path)]) == 10
    assert problem in capsys.readouterr().err


def test_a_wrong_key_or_a_service_that_is_away_is_told_apart(
    yard: Yard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Path(yard.service).read_text()
    path = tmp_path / "service.toml"
    secret = good.split("SharedAccessKey=")[1].split('"')[0]
    path.write_text(good.replace(secret, base64.b64encode(bytes(32)).decode()))
    path.chmod(0o600)
    assert main(["show", "--device", "x-1", "--service", str(path)]) == 16
    assert "status 401" in capsys.readouterr().err
    path.write_text(good.replace(":8443", ":8444"))
    assert main(["show", "--device", "x-1", "--service", str(path)]) == 15
    said = capsys.readouterr().err
    assert "cannot be reached" in said
    assert secret not in said


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("init-ca", "request", "issue", "enroll", "register", "rotate", "revoke"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert len(capsys.readouterr().out) > 300


def test_the_root_signs_no_device_and_stays_out_of_the_chain(yard: Yard) -> None:
    root, batch = (Authority.load(Path(yard.ca), name) for name in ("root", "pilot"))
    assert root.chain == ()
    assert [one.subject for one in batch.chain] == [batch.certificate.subject]
    assert json.dumps(yard.hub.enrolments()).count("BEGIN CERTIFICATE") >= 1
