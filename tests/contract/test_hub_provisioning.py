"""The real SDK registers through the local DPS, and comes in with what it was given."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from azure.iot.device import ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError, CredentialError

from firmware.uplink.identity import Certificate
from hil.local_hub.credentials import derived_key
from provisioning.authority import Authority
from tests.contract.hub_bench import SCOPE, Bench, bench, registered
from tests.integration.bench import loopback
from tests.unit.hub_identities import KEY, OTHER_KEY

pytestmark = pytest.mark.usefixtures("sdk")


def test_a_device_of_a_certified_group_joins(cloud: Bench) -> None:
    batch = Authority.root("A root that the hub never sees").batch("Batch")
    cloud.hub.enrol("unrooted", group=True, certificates=[batch.certificate])
    shown = cloud.certified("join1", issuer=batch)
    result = cloud.register("join1", shown, {"site": "s1", "profile": "door"})
    assert result.status == "assigned"
    assert result.registration_state.assigned_hub == cloud.host
    assert result.registration_state.device_id == "join1"
    with cloud.client(shown, "join1") as client:
        client.connect()
        client.send_message("joined")
    assert cloud.messages("join1")[0].body == b"joined"
    [registration] = [one for one in cloud.hub.registrations() if one["id"] == "join1"]
    assert registration["payload"] == {"site": "s1", "profile": "door"}


def test_a_renewed_certificate_comes_in_after_registering_again(cloud: Bench) -> None:
    cloud.hub.enrol("batch", group=True, certificates=[cloud.batch.certificate])
    cloud.register("renew1", cloud.certified("renew1"))
    renewed = cloud.certified("renew1")
    with cloud.client(renewed, "renew1") as client, pytest.raises(CredentialError):
        client.connect()
    cloud.register("renew1", renewed)
    with cloud.client(renewed, "renew1") as client:
        client.connect()


def test_a_device_with_its_own_certificate_joins(cloud: Bench) -> None:
    own = cloud.certified("own2", issuer=None)
    leaf = Certificate.load(Path(own[0])).leaf
    cloud.hub.enrol("own2", certificates=[leaf], payload={"welcome": [1]})
    result = cloud.register("own2", own)
    assert json.loads(result.registration_state.response_payload) == {"welcome": [1]}
    with cloud.client(own, "own2") as client:
        client.connect()


def test_a_device_of_a_key_group_joins(cloud: Bench) -> None:
    cloud.hub.enrol("keys", group=True, keys=[KEY], desired={"interval": 5})
    key = derived_key(KEY, "sym1")
    assert cloud.register_by_key("sym1", key).status == "assigned"
    with cloud.key_client("sym1", key) as client:
        client.connect()
        assert client.get_twin()["desired"]["interval"] == 5


def test_a_device_with_its_own_key_joins_under_another_name(cloud: Bench) -> None:
    cloud.hub.enrol("sym2", keys=[KEY], device_id="door2")
    assert cloud.register_by_key("sym2", KEY).registration_state.device_id == "door2"


def test_a_device_without_enrolment_is_told_404(tmp_path: Path) -> None:
    with bench(tmp_path) as cloud, pytest.raises(ClientError) as error:
        cloud.register_by_key("nobody", KEY)
    assert "404" in str(error.value.__cause__)


@pytest.mark.parametrize("wrong", ["key", "certificate", "disabled"])
def test_a_device_that_proves_nothing_is_told_401(cloud: Bench, wrong: str) -> None:
    cloud.hub.enrol("sym3", keys=[KEY], enabled=wrong != "disabled")
    with pytest.raises(ClientError) as error:
        if wrong == "certificate":
            cloud.register("sym3", cloud.certified("sym3"))
        else:
            cloud.register_by_key("sym3", OTHER_KEY if wrong == "key" else KEY)
    assert "401" in str(error.value.__cause__)


def test_a_device_with_another_scope_is_not_let_in(cloud: Bench) -> None:
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=cloud.host,
        registration_id="sym1",
        id_scope=SCOPE + "1",
        symmetric_key=KEY,
        server_verification_cert=cloud.hub.trust.read_text(),
    )
    with pytest.raises(CredentialError):
        registered(client, None)


def test_a_throttled_device_waits_and_joins(cloud: Bench) -> None:
    cloud.hub.enrol("sym4", keys=[KEY])
    cloud.hub.fault("throttle", "dps", count=1, seconds=4)
    began = time.monotonic()
    assert cloud.register_by_key("sym4", KEY).status == "assigned"
    assert time.monotonic() - began >= 4  # as long as it was told, not the SDK's own 2 s
    assert cloud.hub.faults() == []


def test_dps_can_be_down(cloud: Bench) -> None:
    cloud.hub.enrol("sym5", keys=[KEY])
    cloud.hub.fault("refuse", "dps_connect")
    with pytest.raises(ClientError):
        cloud.register_by_key("sym5", KEY)


def test_devices_are_spread_over_several_hubs(tmp_path: Path) -> None:
    names = ["east.azure-devices.net", "west.azure-devices.net"]
    with bench(tmp_path, "--hub", names[0], "--hub", names[1]) as cloud:
        cloud.hub.enrol("keys", group=True, keys=[KEY])
        devices = {name: derived_key(KEY, name) for name in ("a1", "a2", "a3", "a4")}
        with ThreadPoolExecutor() as threads:
            results = threads.map(cloud.register_by_key, *zip(*devices.items(), strict=True))
        hubs = [result.registration_state.assigned_hub for result in results]
        assigned = dict(zip(devices, hubs, strict=True))
        for name, key in devices.items():
            with cloud.key_client(
                name, key, hostname=assigned[name], gateway_hostname=cloud.host
            ) as client:
                client.connect()
        assert set(assigned.values()) == set(names)
        assert {
            one["device"]: one["hub"] for one in cloud.hub.devices()
        }.items() >= assigned.items()


def test_a_hub_named_by_an_address_is_reached_there(tmp_path: Path) -> None:
    other = loopback()
    with bench(tmp_path, "--hub", other) as cloud:
        cloud.hub.enrol("sym1", keys=[KEY])
        assert cloud.register_by_key("sym1", KEY).registration_state.assigned_hub == other
        with cloud.key_client("sym1", hostname=other) as client:
            client.connect()
