"""The real SDK takes the local hub for IoT Hub: telemetry, twin, methods and connect forms."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodRequest, MethodResponse
from azure.iot.device.exceptions import ClientError, OperationCancelled

from hil.local_hub import ServiceError, events
from tests.contract.hub_bench import Bench, Mailbox, bench, eventually

pytestmark = pytest.mark.usefixtures("sdk")


def test_telemetry_arrives_whole_and_is_acknowledged(cloud: Bench) -> None:
    message = Message(  # type: ignore[no-untyped-call]
        bytes(range(256)), message_id="m-1/ä", content_type="application/x+y"
    )
    message.custom_properties.update({"kind": "records", "odd": "v1/ä&=+ %"})
    with cloud.client() as client:
        client.connect()
        client.send_message(message)
    arrived = cloud.messages("dev1")[-1]
    assert (arrived.hub, arrived.device, arrived.message_id) == (cloud.host, "dev1", "m-1/ä")
    assert arrived.body == bytes(range(256))
    assert arrived.properties == {"kind": "records", "odd": "v1/ä&=+ %"}
    assert arrived.system["content-type"] == "application/x+y"


def test_messages_are_watched_as_they_arrive(cloud: Bench) -> None:
    before = sum(1 for _ in events(cloud.hub.capture))
    watching = cloud.hub.watch(after=before, timeout_s=20)
    with cloud.key_client() as client, contextlib.closing(watching):
        client.connect()
        for number in range(50):
            client.send_message(str(number))
            assert next(watching).body == str(number).encode()


def test_an_error_of_the_sdk_does_not_mean_that_the_message_was_lost(cloud: Bench) -> None:
    cloud.hub.fault("die_after_store", count=1)
    with cloud.client() as client:
        client.connect()
        # Which of them depends on whether the hub is gone before the SDK has looked again.
        with pytest.raises((OperationCancelled, ClientError)):
            client.send_message("stored all the same")
    assert cloud.messages("dev1")[-1].body == b"stored all the same"


def test_a_long_message_arrives(cloud: Bench) -> None:
    with cloud.client() as client:
        client.connect()
        client.send_message("x" * 250_000)
    assert cloud.messages("dev1")[-1].body == b"x" * 250_000


def test_a_twin_is_read_and_patched_from_both_sides(cloud: Bench) -> None:
    told = Mailbox()
    with cloud.client() as client:
        client.connect()
        client.patch_twin_reported_properties({"fw": "1.2", "old": 1, "net": {"a": 1, "b": 2}})
        client.patch_twin_reported_properties({"old": None, "net": {"b": None}})
        client.on_twin_desired_properties_patch_received = told
        version = cloud.hub.patch("dev1", {"interval": 9, "deep": {"x": 1}})
        [patch] = told.wait_for(1)
        assert patch == {"interval": 9, "deep": {"x": 1}, "$version": version}
        assert cloud.hub.patch("dev1", {"deep": None}) == version + 1
        twin = client.get_twin()
    assert twin == cloud.hub.twin("dev1")
    assert twin["desired"] == {"interval": 9, "$version": version + 1}
    assert twin["reported"] == {"fw": "1.2", "net": {"a": 1}, "$version": 3}


def test_a_patch_over_the_limit_is_refused_on_both_sides(cloud: Bench) -> None:
    with cloud.client() as client:
        client.connect()
        before = cloud.hub.twin("dev1")
        with pytest.raises(ClientError) as refusal:
            client.patch_twin_reported_properties({"a.b": 1})
        assert "400" in str(refusal.value.__cause__)
        with pytest.raises(ServiceError) as error:
            cloud.hub.patch("dev1", {"a": "x" * 5000})
        assert error.value.status == 400
        assert cloud.hub.twin("dev1") == before


def answering(client: IoTHubDeviceClient, status: int) -> None:
    def answer(request: MethodRequest) -> None:
        payload = {"name": request.name, "given": request.payload}
        response = MethodResponse.create_from_method_request(request, status, payload)
        client.send_method_response(response)

    client.on_method_request_received = answer


def test_a_method_is_called_and_answers(cloud: Bench) -> None:
    with cloud.client() as client:
        client.connect()
        answering(client, 207)
        status, payload = cloud.hub.call("dev1", "self test", {"q": [1, None]})
    assert (status, payload) == (207, {"name": "self test", "given": {"q": [1, None]}})


def test_a_method_that_gives_no_answer_ends_with_504(cloud: Bench) -> None:
    with cloud.client() as client:
        client.connect()
        client.on_method_request_received = lambda _: None
        with pytest.raises(ServiceError) as error:
            cloud.hub.call("dev1", "sleep", timeout_s=0.2)
    assert error.value.status == 504


def test_a_method_of_a_device_that_is_away_ends_with_404(cloud: Bench) -> None:
    eventually(lambda: cloud.hub.stats()["connected"] == 0)
    with pytest.raises(ServiceError) as error:
        cloud.hub.call("dev1", "ping")
    assert error.value.status == 404
    with pytest.raises(ServiceError) as error:
        cloud.hub.call("nobody", "ping")
    assert error.value.status == 404


def test_a_method_of_a_device_that_goes_away_ends_with_404(cloud: Bench) -> None:
    with cloud.client() as client:
        client.connect()
        called = threading.Event()
        client.on_method_request_received = lambda _: called.set()
        answers: list[Any] = []

        def call() -> None:
            try:
                cloud.hub.call("dev1", "die", timeout_s=20)
            except ServiceError as error:
                answers.append(error.status)

        thread = threading.Thread(target=call)
        thread.start()
        assert called.wait(20)
        client.disconnect()
        thread.join(20)
    assert answers == [404]


def test_a_second_connection_of_a_device_ends_the_first(cloud: Bench) -> None:
    lost = threading.Event()
    with cloud.client() as first, cloud.client() as second:
        first.connect()
        first.on_connection_state_change = lost.set  # type: ignore[assignment]
        second.connect()
        assert lost.wait(20)
        second.send_message("second")
        assert not first.connected
        assert cloud.hub.stats()["connected"] == 1
    assert cloud.messages("dev1")[-1].body == b"second"


def test_a_gateway_stands_for_a_hub_of_another_name(tmp_path: Path) -> None:
    name = "pilot.azure-devices.net"
    with bench(tmp_path, "--hub", name) as cloud:
        with cloud.key_client(hostname=name, gateway_hostname=cloud.host) as client:
            client.connect()
            client.send_message("by the gateway")
        [arrived] = cloud.messages("key1")
    assert (arrived.hub, arrived.body) == (name, b"by the gateway")


def may_listen_on_443() -> bool:
    """Root, CAP_NET_BIND_SERVICE or net.ipv4.ip_unprivileged_port_start allow it."""
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", 443))
        except PermissionError:
            return False
        except OSError:
            return True
    return True


@pytest.mark.skipif(not may_listen_on_443(), reason="the SDK knows only port 443 for WebSocket")
def test_the_sdk_speaks_over_websocket(tmp_path: Path) -> None:
    with bench(tmp_path, "--websocket-port", "443") as cloud:
        with cloud.client(websockets=True) as client:
            client.connect()
            client.send_message("x" * 100_000)
            answering(client, 200)
            assert cloud.hub.call("dev1", "ping")[0] == 200
        assert len(cloud.messages("dev1")[0].body) == 100_000
