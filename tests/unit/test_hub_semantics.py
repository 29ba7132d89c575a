"""What IoT Hub makes of a device's packets, without any transport."""

from __future__ import annotations

import contextlib
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.local_hub import iot_hub, mqtt
from hil.local_hub.credentials import Chain, thumbprints
from hil.local_hub.iot_hub import (
    Answer,
    Device,
    IotHub,
    MethodResult,
    RefusedError,
    Telemetry,
    desired_patch,
    method_request,
)
from provisioning.authority import Authority
from tests.unit.hub_identities import KEY, OTHER_KEY, chain, self_signed, token

fuzz = settings(derandomize=True, deadline=None, max_examples=200)

NOW = 1_800_000_000.0
ROOT = Authority.root("Root")
PRESENT = time.time()


def hub(*devices: Device, now: float = PRESENT) -> IotHub:
    made = IotHub("hub", [ROOT.certificate], lambda: now)
    made.devices = {device.id: device for device in devices}
    return made


def connect(device: str, password: str = "", *, named: str = "hub") -> mqtt.Connect:
    user = f"{named}/{device}/?api-version=2019-10-01&DeviceClientType=py"
    return mqtt.Connect(device, user, password.encode() or None)


CERTIFIED = chain(ROOT.batch("Batch"), "dev1")
EXPIRED = chain(ROOT.batch("Batch"), "dev1", days=-1)
ANOTHER = chain(ROOT.batch("Batch"), "dev2")
STRANGER = chain(Authority.root("Root").batch("Batch"), "dev1")
OWN, _ = self_signed("dev1")


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        (Device("dev1", by_authority=True), CERTIFIED),
        (Device("dev1", certificates=(OWN,)), (OWN,)),
        (Device("dev1", thumbprints=tuple(thumbprints(CERTIFIED[0]))[:1]), CERTIFIED),
        (Device("dev1", thumbprints=tuple(thumbprints(CERTIFIED[0]))[1:]), CERTIFIED),
        (Device("dev1", thumbprints=tuple(thumbprints(ANOTHER[0]))), ANOTHER),
    ],
)
def test_a_device_is_admitted_by_a_certificate_that_the_registry_knows(
    device: Device, shown: Chain
) -> None:
    assert hub(device).admit(connect("dev1"), shown).device is device


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        (Device("dev1", by_authority=True), EXPIRED),
        (Device("dev1", thumbprints=tuple(thumbprints(EXPIRED[0]))), EXPIRED),
        (Device("dev1", by_authority=True), ANOTHER),
        (Device("dev1", by_authority=True), STRANGER),
        (Device("dev1", by_authority=True), (OWN,)),
        (Device("dev1", certificates=(OWN,)), CERTIFIED),
        (Device("dev1", keys=(KEY,)), CERTIFIED),
        (Device("dev1", by_authority=True), ()),
        (Device("dev1", by_authority=True, enabled=False), CERTIFIED),
        (Device("other", by_authority=True), CERTIFIED),
    ],
)
def test_a_device_is_refused_with_any_other_proof(device: Device, shown: Chain) -> None:
    with pytest.raises(RefusedError) as refusal:
        hub(device).admit(connect("dev1"), shown)
    assert refusal.value.code == mqtt.NOT_AUTHORISED


@pytest.mark.parametrize(
    "packet",
    [
        mqtt.Connect("dev1"),
        mqtt.Connect("dev1", "hub/dev1"),
        mqtt.Connect("dev1", "hub/dev2/?api-version=1"),
        connect("dev1", named="hub2"),
        mqtt.Connect("dev2", "hub/dev1/?api-version=1"),
    ],
)
def test_a_user_name_of_another_form_is_refused(packet: mqtt.Connect) -> None:
    with pytest.raises(RefusedError) as refusal:
        hub(Device("dev1", by_authority=True)).admit(packet, CERTIFIED)
    assert refusal.value.code == mqtt.BAD_CREDENTIALS


def test_a_device_may_stay_until_its_token_ends() -> None:
    made = hub(Device("dev1", keys=(OTHER_KEY, KEY)))
    packet = connect("dev1", token("hub/devices/dev1", KEY, PRESENT + 60))
    assert made.admit(packet, ()).expires_at_s == int(PRESENT + 60)
    for wrong in (
        token("hub/devices/dev1", KEY, PRESENT - 1),
        token("hub/devices/dev2", KEY, PRESENT + 60),
        token("hub/devices/dev1", "A" * 24, PRESENT + 60),
        "",
        "no token",
    ):
        with pytest.raises(RefusedError):
            made.admit(connect("dev1", wrong), ())


def publish(topic: str, payload: bytes = b"") -> mqtt.Publish:
    return mqtt.Publish(topic, payload, 1, 1)


def receive(packet: mqtt.Publish, device: Device | None = None) -> iot_hub.Outcome:
    device = device or Device("dev1")
    return hub(device, now=NOW).receive(device, packet)


def test_telemetry_carries_its_properties() -> None:
    bag = f"%24.mid=m-1&%24.ct={quote('application/x+y')}&schema={quote('v1/ä&=', safe='')}&empty="
    assert receive(publish(f"devices/dev1/messages/events/{bag}", b"\x00\xff")) == Telemetry(
        "hub",
        "dev1",
        b"\x00\xff",
        {"schema": "v1/ä&=", "empty": ""},
        {"message-id": "m-1", "content-type": "application/x+y"},
        NOW,
    )


def test_telemetry_needs_no_properties() -> None:
    outcome = receive(publish("devices/dev1/messages/events/", b"x"))
    assert isinstance(outcome, Telemetry)
    assert (outcome.properties, outcome.system) == ({}, {})


def test_a_message_of_256_kb_is_the_longest() -> None:
    topic = "devices/dev1/messages/events/ab=cd"
    receive(publish(topic, b"x" * (iot_hub.MAX_MESSAGE - 4)))
    with pytest.raises(mqtt.ProtocolError):
        receive(publish(topic, b"x" * (iot_hub.MAX_MESSAGE - 3)))


@pytest.mark.parametrize(
    "topic",
    [
        "devices/dev2/messages/events/",
        "devices/dev1/messages/other/",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
        "$iothub/methods/res/two/?$rid=1",
        "$iothub/methods/POST/reboot/?$rid=1",
        "$dps/registrations/PUT/iotdps-register/?$rid=1",
        "elsewhere",
    ],
)
def test_another_topic_ends_the_connection(topic: str) -> None:
    with pytest.raises(mqtt.ProtocolError):
        receive(publish(topic))


def test_a_twin_is_read_and_patched() -> None:
    device = Device("dev1")
    device.desired.patch({"wanted": 1})
    outcome = receive(publish("$iothub/twin/PATCH/properties/reported/?$rid=7", b'{"a":1}'), device)
    assert outcome == Answer("$iothub/twin/res/204/?$rid=7&$version=2")
    outcome = receive(publish("$iothub/twin/GET/?$rid=8"), device)
    assert isinstance(outcome, Answer)
    assert outcome.topic == "$iothub/twin/res/200/?$rid=8"
    assert json.loads(outcome.payload) == {
        "desired": {"wanted": 1, "$version": 2},
        "reported": {"a": 1, "$version": 2},
    }


@pytest.mark.parametrize("patch", [b"", b"[]", b"{", b'{"a.b":1}', b'{"a":NaN}', b"[" * 10_000])
def test_a_patch_that_is_none_is_answered_with_400(patch: bytes) -> None:
    device = Device("dev1")
    outcome = receive(publish("$iothub/twin/PATCH/properties/reported/?$rid=7", patch), device)
    assert isinstance(outcome, Answer)
    assert outcome.topic == "$iothub/twin/res/400/?$rid=7"
    assert device.reported.version == 1


def test_a_desired_patch_is_told_with_its_version() -> None:
    device = Device("dev1")
    told = desired_patch(device, {"a": {"b": None}})
    assert told.topic == "$iothub/twin/PATCH/properties/desired/?$version=2"
    assert json.loads(told.payload) == {"a": {"b": None}, "$version": 2}


def test_a_method_is_called_and_answers() -> None:
    told = method_request("re/boot ä", "r1", {"in": 3})
    assert told == Answer("$iothub/methods/POST/re%2Fboot%20%C3%A4/?$rid=r1", b'{"in": 3}')
    outcome = receive(publish("$iothub/methods/res/200/?$rid=r1", b'{"ok":true}'))
    assert outcome == MethodResult("r1", 200, {"ok": True})
    with pytest.raises(mqtt.ProtocolError):
        receive(publish("$iothub/methods/res/200/?$rid=r1", b"{"))


@fuzz
@given(
    st.one_of(
        st.text(),
        st.text().map(lambda rest: f"devices/dev1/messages/events/{rest}"),
        st.text().map(lambda rest: f"$iothub/{rest}"),
        st.text().map(lambda rest: f"$iothub/twin/GET/?{rest}"),
        st.text().map(lambda rest: f"$iothub/methods/res/{rest}"),
    ),
    st.binary(max_size=50),
)
def test_any_publish_has_an_outcome_or_is_a_protocol_error(topic: str, payload: bytes) -> None:
    with contextlib.suppress(mqtt.ProtocolError):
        receive(publish(topic, payload))


def test_only_a_hub_s_topics_can_be_subscribed_to() -> None:
    device = Device("dev1")
    for topic in ("$iothub/twin/res/#", "$iothub/methods/POST/#", iot_hub.TWIN_PATCHES):
        assert hub().may_subscribe(device, topic)
    for topic in ("#", "devices/#", "devices/dev2/messages/devicebound/#", "$iothub/#"):
        assert not hub().may_subscribe(device, topic)
