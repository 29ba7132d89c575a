"""Who is let in and who is not, by the real SDK and the real TLS."""

from __future__ import annotations

import datetime
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.exceptions import ClientError, ConnectionFailedError, CredentialError

from firmware.uplink.identity import Certificate
from hil.local_hub import mqtt
from hil.local_hub.credentials import thumbprints
from provisioning.authority import Authority
from tests.contract.hub_bench import Bench, eventually
from tests.contract.raw_device import RawDevice
from tests.unit.hub_identities import KEY, OTHER_KEY, token

pytestmark = pytest.mark.usefixtures("sdk")


def delivers(
    cloud: Bench, connecting: AbstractContextManager[IoTHubDeviceClient], name: str
) -> bool:
    before = len(cloud.messages(name))
    with connecting as client:
        client.connect()
        client.send_message("let in")
    return len(cloud.messages(name)) == before + 1


def test_a_certificate_of_the_authority_is_let_in(cloud: Bench) -> None:
    assert delivers(cloud, cloud.client(), "dev1")


def test_a_symmetric_key_is_let_in(cloud: Bench) -> None:
    assert delivers(cloud, cloud.key_client(), "key1")


def test_a_registered_self_signed_certificate_is_let_in(cloud: Bench) -> None:
    own = cloud.certified("own1", issuer=None)
    cloud.hub.register("own1", certificates=[Certificate.load(Path(own[0])).leaf])
    assert delivers(cloud, cloud.client(own, "own1"), "own1")


def test_a_registered_thumbprint_is_let_in(cloud: Bench) -> None:
    shown = cloud.certified("print1")
    leaf = Certificate.load(Path(shown[0])).leaf
    cloud.hub.register("print1", thumbprints=[max(thumbprints(leaf), key=len).lower()])
    assert delivers(cloud, cloud.client(shown, "print1"), "print1")


def refused(connecting: AbstractContextManager[IoTHubDeviceClient]) -> bool:
    """Whether CONNACK says no, which the SDK tells from trouble on the way."""
    with connecting as client, pytest.raises(CredentialError):
        client.connect()
    return True


def test_an_expired_certificate_is_refused(cloud: Bench) -> None:
    cloud.hub.register("old1", by_authority=True)
    assert refused(cloud.client(cloud.certified("old1", days=-1), "old1"))


def test_a_certificate_with_another_s_name_is_refused(cloud: Bench) -> None:
    assert refused(cloud.client(cloud.certified("dev9", subject="dev2"), "dev1"))


def test_a_certificate_with_another_thumbprint_is_refused(cloud: Bench) -> None:
    cloud.hub.register("print2", thumbprints=["AB" * 32])
    assert refused(cloud.client(cloud.certified("print2"), "print2"))


def test_an_unknown_device_is_refused(cloud: Bench) -> None:
    assert refused(cloud.client(cloud.certified("nobody"), "nobody"))


def test_a_wrong_key_is_refused(cloud: Bench) -> None:
    assert refused(cloud.key_client(key=OTHER_KEY))


def test_a_key_instead_of_a_certificate_is_refused(cloud: Bench) -> None:
    assert refused(cloud.key_client("dev1", OTHER_KEY))


def test_a_certificate_of_a_stranger_never_gets_through_tls(cloud: Bench) -> None:
    stranger = Authority.root("Device root").batch("Batch")
    shown = cloud.certified("far1", issuer=stranger, subject="dev1")
    with cloud.client(shown, "dev1") as client:
        with pytest.raises((ClientError, ConnectionFailedError)):
            client.connect()
        assert not client.connected


@pytest.mark.parametrize("undo", ["remove", "disable"])
def test_a_revoked_device_is_thrown_out_and_refused(cloud: Bench, undo: str) -> None:
    shown = cloud.certified(name := f"gone-{undo}")
    cloud.hub.register(name, by_authority=True)
    with cloud.client(shown, name) as client:
        client.connect()
        if undo == "remove":
            cloud.hub.remove(name)
        else:
            cloud.hub.enable(name, enabled=False)
        eventually(lambda: not client.connected)
    assert refused(cloud.client(shown, name))
    if undo == "disable":
        cloud.hub.enable(name)
        assert delivers(cloud, cloud.client(shown, name), name)


@pytest.mark.parametrize("kind", ["stranger", "expired", "other_name"])
def test_a_device_believes_no_other_hub(cloud: Bench, kind: str) -> None:
    try:
        cloud.hub.certificate(kind)  # type: ignore[arg-type]
        with cloud.client() as client, pytest.raises(ClientError) as error:
            client.connect()
    finally:
        cloud.hub.certificate("good")
    cause: BaseException | None = error.value
    while cause and "CERTIFICATE_VERIFY_FAILED" not in str(cause):
        cause = cause.__cause__
    assert cause is not None
    assert delivers(cloud, cloud.client(), "dev1")


def test_a_device_with_another_root_does_not_believe_the_hub(cloud: Bench) -> None:
    other = cloud.folder / "other"
    Authority.root("Local hub root").save(other, "trust")
    wrong = (other / "trust.pem").read_text()
    with cloud.client(server_verification_cert=wrong) as client, pytest.raises(ClientError):
        client.connect()


def test_a_token_that_ends_ends_the_connection(cloud: Bench) -> None:
    soon = datetime.datetime.now().timestamp() + 2
    with RawDevice(cloud.host, cloud.hub.trust) as device:
        made = token(f"{cloud.host}/devices/key1", KEY, soon)
        user = f"{cloud.host}/key1/?api-version=2019-10-01"
        device.send(mqtt.Connect("key1", user, made.encode()))
        assert device.receive(mqtt.Connack).code == mqtt.ACCEPTED
        assert device.is_ended()
