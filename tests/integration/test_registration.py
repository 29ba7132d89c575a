"""A device finds its hub by itself, keeps it, loses it, and changes its identity on the way."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from firmware import key_statement, messages
from firmware.uplink import identity, registration
from firmware.uplink.rotation import NEXT_KEY_FILE
from hil.local_hub import Service
from provisioning.authority import Authority
from tests import keys
from tests.integration.bench import Bench, Device, bench, eventually, uplink


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A hub with an enrolment group for all devices of a batch."""
    with bench(tmp_path_factory.mktemp("bench")) as made:
        made.hub.enrol("batch", group=True, certificates=[made.batch.certificate])
        yield made


@pytest.fixture
def cloud(shared: Bench) -> Iterator[Bench]:
    yield shared
    shared.hub.clear_faults()


@pytest.fixture
def device(cloud: Bench) -> Device:
    """A device that knows its certificate and the registration service, and no hub."""
    return cloud.stranger(**cloud.by_registration(), site="oslo-1", profile="entrance")


def called(hub: Service, device: Device, method: str) -> tuple[int, Any]:
    """Call a method from the service's side."""
    service = Service(hub.state)
    try:
        return service.call(device.name, method)
    finally:
        service.close()


def times(cloud: Bench, device: Device) -> int:
    """How often a device has registered."""
    found = [one for one in cloud.hub.registrations() if one["id"] == device.name]
    return int(found[0]["times"]) if found else 0


# ---- registration ------------------------------------------------------------------------------


def test_a_new_device_registers_and_tells_site_and_profile(cloud: Bench, device: Device) -> None:
    with uplink(device) as up:
        assert up.wait_for(messages.UplinkReady).hub == cloud.host
        up.send(*device.sealed(1))
        up.delivered(1)
    found = [one for one in cloud.hub.registrations() if one["id"] == device.name]
    assert found[0]["payload"] == {"site": "oslo-1", "profile": "entrance"}


def test_the_assigned_hub_is_used_directly_after_a_restart(cloud: Bench, device: Device) -> None:
    for _ in range(2):
        with uplink(device) as up:
            up.wait_for(messages.UplinkReady)
    assert times(cloud, device) == 1


def test_a_broken_cache_is_made_anew(cloud: Bench, device: Device) -> None:
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
    (device.directory / registration.CACHE_FILE).write_bytes(b'{"id_scope": "0ne')
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
    assert times(cloud, device) == 2


def test_a_refused_device_registers_again(cloud: Bench, device: Device) -> None:
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        cloud.hub.fault("refuse", "connect", device=device.name, count=1, code=5)
        cloud.hub.kick(device.name)
        up.wait_for(messages.HubLost)
        up.wait_for(messages.UplinkReady)
    assert times(cloud, device) == 2


def test_ten_failures_make_a_device_register_again(cloud: Bench, device: Device) -> None:
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        cloud.hub.fault("refuse", "connect", device=device.name, count=10, code=3)
        cloud.hub.kick(device.name)
        up.wait_for(messages.UplinkReady)
    assert times(cloud, device) == 2


def test_the_service_may_be_away_busy_or_slow_at_first(cloud: Bench, device: Device) -> None:
    cloud.hub.fault("abort", "dps_connect", device=device.name, count=2)
    cloud.hub.fault("throttle", "dps", device=device.name, count=2, seconds=1)
    with uplink(device) as up:
        up.wait_for(messages.HubLost)
        up.wait_for(messages.UplinkReady)


@pytest.mark.parametrize("point", ["dps_connect", "dps"])
def test_a_service_that_speaks_no_mqtt_is_asked_again(
    cloud: Bench, device: Device, point: str
) -> None:
    cloud.hub.fault("garbage", point, device=device.name, count=1, kind="unknown")  # type: ignore[arg-type]
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        assert cloud.hub.faults() == []
        assert "Traceback" not in up.words()


def test_a_service_that_answers_garbage_is_asked_again_in_time(
    cloud: Bench, device: Device
) -> None:
    """The SDK waits 30 s for the rest of a packet, and without end after an answer that it cannot
    read: the watchdog ends it, and the supervisor starts the uplink again."""
    device.settings["hub"]["register_s"] = 2.0
    for kind in ("partial", "text", "pause", "hub"):
        cloud.hub.fault("garbage", "dps", device=device.name, count=1, kind=kind)
        while cloud.hub.faults():  # a busy machine may not even ask in that time
            with uplink(device) as up:
                assert up.wait_for(messages.Failed).error == "UplinkError", kind
                assert up.ended() == 15
                words = up.words()
                assert '"hub_stalled"' in words and "Traceback" not in words, kind
    assert times(cloud, device) == 0
    device.settings["hub"]["register_s"] = 120.0
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)


def test_a_device_that_is_not_enrolled_is_refused_until_it_is(cloud: Bench) -> None:
    other = Authority.root("Other root").batch("Other batch")
    device = cloud.stranger(**cloud.by_registration())
    request = identity.request(device.directory, device.name)
    (device.directory / identity.CERTIFICATE_FILE).write_bytes(other.device(request))
    cloud.hub.enrol("other", group=True, certificates=[other.certificate], enabled=False)
    with uplink(device) as up:
        up.wait_for(messages.HubLost)
        up.wait_for(messages.UplinkHealth, lambda one: one.last_fault == "refused")
        cloud.hub.enrol("other", group=True, certificates=[other.certificate])
        up.wait_for(messages.UplinkReady)


def test_the_method_reprovision_moves_a_device_on_at_once(cloud: Bench, device: Device) -> None:
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        assert called(cloud.hub, device, "reprovision") == (202, {})
        up.wait_for(messages.UplinkReady)
    assert times(cloud, device) == 2


def test_a_device_with_a_fixed_hub_cannot_be_reprovisioned(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        assert called(cloud.hub, device, "reprovision")[0] == 409


def test_a_device_with_a_key_derived_from_its_groups_registers(cloud: Bench) -> None:
    group_key = base64.b64encode(bytes(range(32)))
    cloud.hub.enrol("group", group=True, keys=[group_key.decode()])
    device = cloud.stranger(**cloud.by_registration())
    derived = hmac.new(base64.b64decode(group_key), device.name.encode(), hashlib.sha256).digest()
    (device.directory / identity.CERTIFICATE_FILE).unlink()
    path = device.directory / identity.SHARED_KEY_FILE
    path.write_bytes(base64.b64encode(derived))
    path.chmod(0o600)
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        up.send(*device.sealed(1))
        up.delivered(1)
        assert up.wait_for(messages.UplinkHealth).certificate_days == 0
        assert base64.b64encode(derived).decode() not in up.words()


# ---- a new certificate -------------------------------------------------------------------------


def requested(cloud: Bench, device: Device) -> bytes:
    """The request for a new certificate that the device has put into its twin."""

    def there() -> bool:
        return bool(reported(cloud, device).get("request"))

    eventually(there)
    return str(reported(cloud, device)["request"]).encode()


def reported(cloud: Bench, device: Device) -> dict[str, Any]:
    found: dict[str, Any] = cloud.hub.twin(device.name)["reported"].get("identity", {})
    return found


def offer(cloud: Bench, device: Device, certificate: bytes) -> None:
    cloud.hub.patch(device.name, {"identity": {"certificate": certificate.decode()}})


def test_a_new_identity_takes_over_after_it_has_worked(cloud: Bench, device: Device) -> None:
    before = device.certificate
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        assert called(cloud.hub, device, "rotate") == (202, {})
        offer(cloud, device, cloud.batch.device(requested(cloud, device)))
        up.wait_for(messages.UplinkReady)
        eventually(lambda: reported(cloud, device).get("request") is None)
        up.send(*device.sealed(1))
        up.delivered(1)
    assert device.certificate.public_key() != before.public_key()
    assert not (device.directory / NEXT_KEY_FILE).exists()
    with uplink(device) as up:  # also after a restart, and without another roll-over
        up.wait_for(messages.UplinkReady)
        assert up.stopped() == 0
        assert "certificate_rotated" not in up.words()


def test_a_new_identity_that_does_not_work_leaves_the_old_one(cloud: Bench, device: Device) -> None:
    stranger = Authority.root("Stranger").batch("Stranger batch")
    before = device.certificate
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        called(cloud.hub, device, "rotate")
        offer(cloud, device, stranger.device(requested(cloud, device)))
        up.wait_for(messages.UplinkReady)
        eventually(lambda: "failed" in str(reported(cloud, device).get("rejected")))
        assert device.certificate == before
        offer(cloud, device, cloud.batch.device(requested(cloud, device)))  # a second, good one
        up.wait_for(messages.UplinkReady)
        eventually(lambda: reported(cloud, device).get("rejected") is None)
    assert device.certificate != before


def test_a_certificate_for_a_foreign_key_is_rejected_unseen(cloud: Bench, device: Device) -> None:
    foreign = identity.KeyFile.create(cloud.folder / f"foreign-{device.name}.key")
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        called(cloud.hub, device, "rotate")
        requested(cloud, device)
        connects = cloud.hub.stats()["connects"]
        offer(cloud, device, cloud.batch.device(foreign.request(device.name)))
        eventually(lambda: "another key" in str(reported(cloud, device).get("rejected")))
        up.send(*device.sealed(1))
        up.delivered(1)
        assert cloud.hub.stats()["connects"] == connects


def test_a_certificate_that_ends_soon_is_renewed_without_being_asked(cloud: Bench) -> None:
    device = cloud.stranger(days=20, **cloud.by_registration())
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        assert up.wait_for(messages.UplinkHealth).certificate_days == 19
        offer(cloud, device, cloud.batch.device(requested(cloud, device)))
        up.wait_for(messages.UplinkHealth, lambda one: one.certificate_days > 300)
        assert "certificate_expires" in up.words()


# ---- a new recipient ---------------------------------------------------------------------------


@pytest.fixture
def pinned(cloud: Bench, tmp_path: Path) -> Device:
    """A device with an operator's key in its image, which seals to what he signed first."""
    device = cloud.device()
    path = tmp_path / "operator.pem"
    path.write_bytes(keys.Signing("operator").public_pem)
    device.settings["sealing"] = {"operator": str(path)}
    device.recipient_key = statement(1)
    return device


def statement(serial: int, *, label: str = "recipient", operator: str = "operator") -> bytes:
    public = keys.private_key(label).public_bytes()
    return key_statement.issue(
        public, serial=serial, issued_utc_s=0, operator=keys.Signing(operator)
    )


def send_statement(cloud: Bench, device: Device, signed: bytes) -> None:
    cloud.hub.patch(device.name, {"recipient": {"statement": signed.decode()}})


def test_the_operators_new_recipient_is_taken_and_kept(cloud: Bench, pinned: Device) -> None:
    new = statement(2, label="new recipient")
    with uplink(pinned) as up:
        assert up.wait_for(messages.UplinkReady).recipient_key == b""
        send_statement(cloud, pinned, new)
        assert up.wait_for(messages.Recipient).public_key == new
    with uplink(pinned) as up:
        assert up.wait_for(messages.UplinkReady).recipient_key == new


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        (statement(2, operator="the hub"), "not signed by this device's operator"),
        (keys.private_key("the hub's").public_bytes(), "is not signed"),
        (statement(1, label="old")[:-5], "is not signed"),
    ],
)
def test_the_hub_cannot_put_its_own_recipient_in(
    cloud: Bench, pinned: Device, signed: bytes, reason: str
) -> None:
    def answer() -> str:
        twin = cloud.hub.twin(pinned.name)["reported"]
        return str(twin.get("recipient", {}).get("rejected"))

    with uplink(pinned) as up:
        up.wait_for(messages.UplinkReady)
        send_statement(cloud, pinned, signed)
        eventually(lambda: reason in answer())
        up.send(*pinned.sealed(1))
        up.delivered(1)
        assert not any(isinstance(one, messages.Recipient) for one in up.heard)
    with uplink(pinned) as up:
        assert up.wait_for(messages.UplinkReady).recipient_key == b""


def test_many_methods_at_once_are_all_answered(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up, ThreadPoolExecutor(8) as pool:
        up.wait_for(messages.UplinkReady)
        asked = [pool.submit(called, cloud.hub, device, f"m{n}") for n in range(8)]
        for _ in range(8):
            call = up.wait_for(messages.MethodCall)
            up.send(messages.MethodResult(call.request, 200, {"name": call.name}))
        assert [one.result(30)[1]["name"] for one in asked] == [f"m{n}" for n in range(8)]
