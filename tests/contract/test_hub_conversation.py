"""The hub's side of a conversation, packet by packet: sessions, limits and every fault."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hil.local_hub import Service, ServiceError, events, mqtt, running
from hil.local_hub.cloud import Options
from hil.local_hub.server import Server
from provisioning.authority import Authority, pem
from tests.contract.hub_bench import Bench, eventually
from tests.contract.raw_device import RawDevice
from tests.integration.bench import loopback
from tests.unit.hub_identities import write

TWIN = "$iothub/twin/res/#"
METHODS = "$iothub/methods/POST/#"


@pytest.fixture
def device(cloud: Bench) -> RawDevice:
    """`dev1`, connected with an empty session."""
    made = cloud.raw()
    assert made.connect("dev1", cloud.host, clean_session=True) == mqtt.Connack(0)
    return made


def bodies(cloud: Bench) -> list[bytes]:
    return [event.body for event in cloud.messages("dev1")]


def is_there(cloud: Bench) -> bool:
    try:
        cloud.raw().socket.close()
    except ConnectionRefusedError:
        return False
    return True


# ---- the protocol ------------------------------------------------------------------------------


def test_packets_in_one_write_are_answered_in_order(cloud: Bench) -> None:
    with cloud.raw() as device:
        device.connect("dev1", cloud.host)
        telemetry = [
            mqtt.Publish("devices/dev1/messages/events/", str(n).encode(), 1, n)
            for n in range(1, 4)
        ]
        device.send(mqtt.Pingreq(), *telemetry, mqtt.Subscribe(9, ((TWIN, 1), ("#", 0))))
        device.receive(mqtt.Pingresp)
        assert [device.receive(mqtt.Puback).packet_id for _ in range(3)] == [1, 2, 3]
        assert device.receive(mqtt.Suback) == mqtt.Suback(9, (1, mqtt.SUBSCRIPTION_REFUSED))
        device.send(mqtt.Unsubscribe(10, (TWIN,)), mqtt.Disconnect())
        assert device.receive(mqtt.Unsuback).packet_id == 10
        assert device.is_ended()
    assert TWIN not in cloud.hub.devices()[0]["subscriptions"]


def test_a_device_speaks_over_websocket(cloud: Bench) -> None:
    with cloud.raw(port=8884, websocket=True) as device:
        assert device.connect("dev1", cloud.host).code == mqtt.ACCEPTED
        device.publish("dev1", b"in a frame" * 100)
        assert device.receive(mqtt.Puback).packet_id == 1
    assert bodies(cloud)[-1] == b"in a frame" * 100


@pytest.mark.parametrize(
    "octets",
    [
        mqtt.Pingreq().encode(),
        b"GET / HTTP/1.1\r\n\r\n",
        mqtt.Connect("dev1", "no such form").encode() + mqtt.Pingreq().encode(),
        bytes(200),
        b"\x30\xff\xff\xff\x7f",
    ],
)
def test_who_does_not_begin_with_a_proper_connect_is_refused(cloud: Bench, octets: bytes) -> None:
    before = cloud.hub.stats()["refusals"]
    with cloud.raw() as device:
        device.socket.sendall(octets)
        while not device.is_ended():
            pass
    assert cloud.hub.stats()["refusals"] == before + 1


@pytest.mark.parametrize(
    "packet",
    [
        mqtt.Publish("devices/dev2/messages/events/", b"x", 1, 1),
        mqtt.Publish("elsewhere", b"x"),
        mqtt.Publish("devices/dev1/messages/events/", b"x" * (256 * 1024 + 1), 1, 1),
        mqtt.Connect("dev1"),
        mqtt.Connack(0),
    ],
)
def test_what_iot_hub_does_not_take_ends_the_connection(
    cloud: Bench, device: RawDevice, packet: mqtt.Packet
) -> None:
    before = bodies(cloud)
    with device:
        device.send(packet)
        assert device.is_ended()
    assert bodies(cloud) == before


def test_random_octets_never_disturb_the_hub(cloud: Bench) -> None:
    noise = random.Random(4)
    for _ in range(40):
        with cloud.raw() as device:
            device.connect("dev1", cloud.host)
            device.socket.sendall(noise.randbytes(noise.randint(1, 300)))
    with cloud.raw() as device:
        assert device.connect("dev1", cloud.host).code == mqtt.ACCEPTED
    assert "Traceback" not in (cloud.hub.state / "hub.log").read_text()


def test_a_silent_device_is_given_up_after_one_and_a_half_keep_alive(cloud: Bench) -> None:
    with cloud.raw() as device:
        device.connect("dev1", cloud.host, keep_alive_s=1)
        assert device.is_ended()
    eventually(lambda: cloud.hub.stats()["connected"] == 0)


def test_a_device_that_pings_may_stay(cloud: Bench) -> None:
    with cloud.raw() as device:
        device.connect("dev1", cloud.host, keep_alive_s=1)
        for _ in range(3):
            assert device.hears_nothing(0.6)
            device.send(mqtt.Pingreq())
            device.receive(mqtt.Pingresp)


# ---- sessions ----------------------------------------------------------------------------------


def test_a_session_outlives_its_connection_unless_it_is_clean(cloud: Bench) -> None:
    def resumes(*, clean_session: bool) -> bool:
        with cloud.raw() as device:
            connack = device.connect("dev1", cloud.host, clean_session=clean_session)
            device.subscribe(TWIN)
            device.send(mqtt.Disconnect())
            assert device.is_ended()
        return connack.session_present

    assert not resumes(clean_session=True)
    assert not resumes(clean_session=False)
    assert resumes(clean_session=False)
    assert not resumes(clean_session=True)


def test_only_who_subscribed_is_told(cloud: Bench, device: RawDevice) -> None:
    with device:
        cloud.hub.patch("dev1", {"unheard": 1})
        assert device.subscribe("$iothub/twin/PATCH/properties/desired/#") == (1,)
        version = cloud.hub.patch("dev1", {"heard": 1})
        told = device.receive(mqtt.Publish)
    assert told.topic == f"$iothub/twin/PATCH/properties/desired/?$version={version}"


def test_a_device_that_listens_to_no_methods_is_as_good_as_away(
    cloud: Bench, device: RawDevice
) -> None:
    with device, pytest.raises(ServiceError) as error:
        cloud.hub.call("dev1", "ping", timeout_s=0.2)
    assert error.value.status == 404


@pytest.mark.parametrize("forget", [False, True])
def test_a_hub_comes_back_with_or_without_its_sessions(cloud: Bench, forget: bool) -> None:
    with cloud.raw() as device:
        device.connect("dev1", cloud.host)
        device.subscribe(METHODS)
        cloud.hub.restart(0.2, forget_sessions=forget)
        assert device.is_ended()
    with pytest.raises(ConnectionRefusedError):
        cloud.raw()
    eventually(lambda: is_there(cloud))
    with cloud.raw() as device:
        assert device.connect("dev1", cloud.host).session_present is not forget


def test_a_hub_that_is_away_cannot_fall_over_again(tmp_path: Path) -> None:
    troubles: list[object] = []

    async def fall_twice() -> None:
        server = Server(Options(host := loopback(), tmp_path))
        asyncio.get_running_loop().set_exception_handler(
            lambda _, trouble: troubles.append(trouble)
        )
        await server.start()
        server.restart(0)
        server.restart(0)
        while not server.is_there:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        _, writer = await asyncio.open_connection(host, 8883)
        writer.close()
        await server.stop()

    asyncio.run(fall_twice())
    gc.collect()  # only then asyncio speaks of a task that failed unheard
    assert troubles == []


@pytest.mark.parametrize("forget", [False, True])
def test_what_a_hub_knows_outlives_its_process(tmp_path: Path, forget: bool) -> None:
    root = Authority.root("Device root")
    certificate = write(tmp_path, "dev1", root.batch("Batch"))
    (tmp_path / "ca.pem").write_bytes(pem(root.certificate))
    host, state = loopback(), tmp_path / "hub"
    words = ["--authority", str(tmp_path / "ca.pem")]
    with running(state, host, *words) as hub:
        hub.register("dev1", by_authority=True)
        hub.patch("dev1", {"a": 1})
        with RawDevice(host, hub.trust, certificate) as device:
            device.connect("dev1", host)
            device.subscribe(TWIN)
        trusted = hub.trust.read_bytes()
    if forget:
        words.append("--forget-sessions")
    with running(state, host, *words) as hub:
        assert hub.trust.read_bytes() == trusted
        assert hub.twin("dev1")["desired"] == {"a": 1, "$version": 2}
        with RawDevice(host, hub.trust, certificate) as device:
            assert device.connect("dev1", host).session_present is not forget


def test_an_acknowledged_message_outlives_a_killed_hub(tmp_path: Path) -> None:
    host, state = loopback(), tmp_path / "hub"
    root = Authority.root("Device root")
    certificate = write(tmp_path, "dev1", root.batch("Batch"))
    (tmp_path / "ca.pem").write_bytes(pem(root.certificate))
    with running(state, host, "--authority", str(tmp_path / "ca.pem")) as hub:
        hub.register("dev1", by_authority=True)
        with RawDevice(host, hub.trust, certificate) as device:
            device.connect("dev1", host)
            for number in range(1, 101):
                device.publish("dev1", b"x", number)
            for _ in range(100):
                device.receive(mqtt.Puback)
            os.kill(hub.stats()["pid"], signal.SIGKILL)
            assert device.is_ended()
    assert [event.message_id for event in events(state / "capture.jsonl")] == [
        f"m{number}" for number in range(1, 101)
    ]


# ---- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "is_stored", "afterwards"),
    [
        ("abort", False, "ended"),
        ("silence", False, "silent"),
        ("drop", False, "alive"),
        ("no_ack", True, "alive"),
        ("die_after_store", True, "ended"),
        ("delay", True, "alive"),
    ],
)
def test_a_fault_in_telemetry(
    cloud: Bench, device: RawDevice, action: str, is_stored: bool, afterwards: str
) -> None:
    body = os.urandom(8)
    cloud.hub.fault(action, count=1, seconds=60)  # type: ignore[arg-type]
    with device:
        device.publish("dev1", body)
        if afterwards == "ended":
            assert device.is_ended()
        else:
            assert device.hears_nothing(0.2)
            device.send(mqtt.Pingreq())
            if afterwards == "silent":
                assert device.hears_nothing(0.2)
            else:
                device.receive(mqtt.Pingresp)
    assert (body in bodies(cloud)) is is_stored
    assert cloud.hub.faults() == []


def test_nothing_that_follows_an_abort_has_an_effect(cloud: Bench, device: RawDevice) -> None:
    cloud.hub.fault("abort", count=1)
    before = bodies(cloud)
    with device:
        device.send(
            *(mqtt.Publish("devices/dev1/messages/events/", b"late", 1, n) for n in (1, 2, 3))
        )
        assert device.is_ended()
    assert bodies(cloud) == before


@pytest.mark.parametrize("action", ["delay", "throttle"])
def test_a_delayed_acknowledgement_comes_and_others_do_not_wait_for_it(
    cloud: Bench, device: RawDevice, action: str
) -> None:
    cloud.hub.fault(action, count=1, seconds=0.5)  # type: ignore[arg-type]
    with device:
        device.publish("dev1", b"slow", 1)
        device.publish("dev1", b"fast", 2)
        assert [device.receive(mqtt.Puback).packet_id for _ in range(2)] == [2, 1]


def test_a_hub_can_fall_over_a_message(cloud: Bench, device: RawDevice) -> None:
    cloud.hub.fault("restart", count=1, seconds=0.1)
    body = os.urandom(8)
    with device:
        device.publish("dev1", body)
        assert device.is_ended()
    assert bodies(cloud)[-1] == body
    eventually(lambda: is_there(cloud))


def test_a_hub_can_answer_with_garbage(cloud: Bench, device: RawDevice) -> None:
    cloud.hub.fault("garbage", count=1)
    with device:
        device.publish("dev1", b"x")
        assert not device.hears_nothing(20)


@pytest.mark.parametrize(("code", "expected"), [(0, 3), (5, 5)])
def test_a_hub_can_refuse_to_connect(cloud: Bench, code: int, expected: int) -> None:
    cloud.hub.fault("refuse", "connect", code=code, count=1)
    with cloud.raw() as device:
        assert device.connect("dev1", cloud.host) == mqtt.Connack(expected)
        assert device.is_ended()


@pytest.mark.parametrize(
    ("action", "fact"),
    [("silence", lambda device: device.hears_nothing(0.3)), ("abort", RawDevice.is_ended)],
)
def test_a_hub_can_be_silent_at_connect_or_break_it_off(
    cloud: Bench, action: str, fact: Callable[[RawDevice], bool]
) -> None:
    cloud.hub.fault(action, "connect", count=1)  # type: ignore[arg-type]
    with cloud.raw() as device:
        device.send(mqtt.Connect("dev1", f"{cloud.host}/dev1/?api-version=1"))
        assert fact(device)


@pytest.mark.parametrize(("action", "status"), [("throttle", 429), ("refuse", 500)])
def test_a_twin_request_can_be_turned_down(
    cloud: Bench, device: RawDevice, action: str, status: int
) -> None:
    cloud.hub.fault(action, "twin", count=1)  # type: ignore[arg-type]
    patch = mqtt.Publish("$iothub/twin/PATCH/properties/reported/?$rid=7", b'{"x":1}', 1, 5)
    before = cloud.hub.twin("dev1")
    with device:
        device.subscribe(TWIN)
        device.send(patch)
        device.receive(mqtt.Puback)
        assert device.receive(mqtt.Publish).topic == f"$iothub/twin/res/{status}/?$rid=7"
    assert cloud.hub.twin("dev1") == before


def test_a_fault_of_one_device_leaves_others_alone(cloud: Bench, device: RawDevice) -> None:
    cloud.hub.fault("no_ack", device="dev[2-9]")
    with device:
        device.publish("dev1", b"x")
        device.receive(mqtt.Puback)


def test_kicked_devices_are_reset(cloud: Bench, device: RawDevice) -> None:
    with device:
        assert cloud.hub.kick("other*") == 0
        assert cloud.hub.kick("dev*") == 1
        assert device.is_ended()


# ---- the control channel -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("nothing", {}, "no request 'nothing'"),
        ("", {}, "no request ''"),
        ("_trust_changed", {}, "no request"),
        ("twin", {}, "missing 1 required positional argument"),
        ("kick", {"x": 1}, "unexpected keyword argument"),
        ("certificate", {"kind": "forged"}, "certificate 'forged'"),
    ],
)
def test_a_request_that_cannot_be_is_refused(
    cloud: Bench, name: str, arguments: dict[str, object], why: str
) -> None:
    with pytest.raises(ServiceError, match=why) as error:
        cloud.hub._ask(name, **arguments)
    assert error.value.status == 400


def test_a_hub_that_is_not_there_is_a_service_error(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as error:
        Service(tmp_path)
    assert error.value.status == 503


def test_an_address_that_is_taken_is_a_service_error(cloud: Bench, tmp_path: Path) -> None:
    with pytest.raises(ServiceError), running(tmp_path / "hub", cloud.host):
        pass
    assert "remedy" in (tmp_path / "hub" / "hub.log").read_text()
