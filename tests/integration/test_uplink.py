"""The uplink process against a hub: what arrives, in which order, once, and what is said of it."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import event_log, messages
from firmware.uplink import identity
from hil.local_hub import events
from provisioning.authority import Authority
from tests.integration.bench import Bench, bench, eventually, uplink


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


@pytest.fixture
def cloud(shared: Bench) -> Iterator[Bench]:
    """A hub without faults."""
    yield shared
    shared.hub.clear_faults()
    shared.hub.certificate("good")


# ---- delivery ----------------------------------------------------------------------------------


def test_records_arrive_in_order_packed_below_4_kb(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up:
        assert up.wait_for(messages.UplinkReady).hub == cloud.host
        up.send(*device.sealed(*range(1, 8)))
        up.delivered(*range(1, 8))
        assert up.stopped() == 0
    assert device.numbers() == list(range(1, 8))
    sizes = [len(one.body) for one in events(cloud.hub.capture) if one.device == device.name]
    assert max(sizes) < 4096  # what Azure meters as one
    assert len(sizes) < 7


def test_a_stop_sends_what_is_in_hand(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        up.send(*device.sealed(1, 2, 3), messages.Health({"frames": 1}), messages.Stop())
        up.delivered(1, 2, 3)
        assert up.ended() == 0
    assert device.numbers() == [1, 2, 3]
    assert len(device.stored("health")) == 1


def test_records_go_before_health(cloud: Bench) -> None:
    device = cloud.device()
    cloud.hub.fault("refuse", "connect", device=device.name, count=1)
    with uplink(device) as up:
        up.wait_for(messages.HubLost)
        up.send(messages.Health({"frames": 1}), *device.sealed(1, 2, 3, 4))
        up.delivered(1, 2, 3, 4)
        assert up.stopped() == 0
    kinds = [
        one.properties["kind"] for one in events(cloud.hub.capture) if one.device == device.name
    ]
    assert kinds == sorted(kinds, reverse=True)  # records … health


def test_the_uplink_ends_when_the_supervisor_is_gone(cloud: Bench) -> None:
    with uplink(cloud.device()) as up:
        up.wait_for(messages.UplinkReady)
        up.channel.close()
        assert up.ended() == 0


def may_listen_on_443() -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", 443))
        except PermissionError:
            return False
        except OSError:
            pass  # somebody else's; ours is another address
    return True


@pytest.mark.skipif(not may_listen_on_443(), reason="the SDK knows only port 443 for websockets")
def test_records_arrive_over_websockets_too(tmp_path: Path) -> None:
    with bench(tmp_path, "--websocket-port", "443", "--port", "8884") as cloud:
        device = cloud.device(transport="websockets")
        with uplink(device) as up:
            up.send(*device.sealed(1, 2, 3))
            up.delivered(1, 2, 3)


# ---- what a network and a hub can do -----------------------------------------------------------


def test_records_wait_for_a_hub_that_is_not_there(cloud: Bench) -> None:
    device = cloud.device()
    cloud.hub.fault("abort", "connect", device=device.name, count=2)
    with uplink(device) as up:
        up.send(*device.sealed(1, 2))
        up.wait_for(messages.HubLost)
        up.delivered(1, 2)
        assert up.stopped() == 0
    assert device.numbers() == [1, 2]


@pytest.mark.parametrize("action", ["abort", "die_after_store", "garbage", "drop"])
def test_a_fault_in_mid_send_loses_nothing(cloud: Bench, action: str) -> None:
    device = cloud.device(acknowledge_s=1.0)
    cloud.hub.fault(action, "telemetry", device=device.name, count=3, skip=1)  # type: ignore[arg-type]
    waiting = device.sealed(*range(1, 11))
    delivered: set[int] = set()
    for _ in range(5):  # as the supervisor starts it again after a stall
        with uplink(device) as up:
            up.send(*(one for one in waiting if one.number not in delivered))
            while len(delivered) < len(waiting):
                try:
                    delivered.update(up.wait_for(messages.Delivered).numbers)
                except AssertionError:
                    break
    # In order, nothing missing; a message that is repeated follows itself at once.
    once = [numbers for numbers, _ in itertools.groupby(one for _, one in device.stored())]
    assert [number for numbers in once for number in numbers] == list(range(1, 11))


def test_a_repeated_message_has_the_same_id(cloud: Bench) -> None:
    device = cloud.device()
    cloud.hub.fault("die_after_store", "telemetry", device=device.name, count=1)
    with uplink(device) as up:
        up.send(*device.sealed(1, 2))
        up.delivered(1, 2)
    first, second = device.stored()
    assert first == second == ("1-2", [1, 2])


@pytest.mark.parametrize(
    ("action", "point"),
    [
        ("no_ack", "telemetry"),  # stored, never acknowledged: the SDK waits without end
        ("silence", "telemetry"),  # a black hole
        ("silence", "connect"),  # TCP and TLS answer, MQTT does not
        ("drop", "twin"),  # connected, but the twin never comes
    ],
)
def test_a_hub_that_does_not_answer_ends_the_uplink(cloud: Bench, action: str, point: str) -> None:
    device = cloud.device(acknowledge_s=1.0)
    cloud.hub.fault(action, point, device=device.name)  # type: ignore[arg-type]
    with uplink(device) as up:
        up.send(*device.sealed(1))
        up.wait_for(messages.UplinkHealth, lambda one: one.last_fault == "stalled")
        assert up.wait_for(messages.Failed).error == "UplinkError"
        assert up.ended() == 15
        assert '"hub_stalled"' in up.words()


DYING = """
import os, threading, time
from firmware.uplink.__main__ import main
def die():
    while threading.excepthook is threading.__excepthook__:
        time.sleep(0.05)
    open("/nonexistent/secret")
threading.Thread(target=die, daemon=True).start()
os._exit(main())
"""


def test_a_thread_that_dies_in_the_sdk_ends_the_uplink_without_its_words(cloud: Bench) -> None:
    device = cloud.device(acknowledge_s=600.0)  # the watchdog would take its time
    with uplink(device, "-c", DYING) as up:
        up.wait_for(messages.UplinkHealth, lambda one: one.last_fault == "stalled")
        assert "a thread of the SDK died" in up.wait_for(messages.Failed).problem
        assert up.ended() == 15
        words = up.words()
    assert '"event": "thread_died", "error": "FileNotFoundError"' in words
    assert "secret" not in words and "Traceback" not in words


def test_a_hub_without_its_sessions_still_tells_of_desired_properties(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        cloud.hub.restart(0.1, forget_sessions=True)
        up.wait_for(messages.UplinkReady)
        cloud.hub.patch(device.name, {"detection": {"score": 0.7}})
        assert up.wait_for(messages.Desired).patch == {"detection": {"score": 0.7}}


# ---- identity and trust ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("stranger", "unable to get local issuer"),
        ("expired", "expired"),
        ("other_name", "mismatch"),
    ],
)
def test_a_hub_with_a_wrong_certificate_gets_nothing(cloud: Bench, kind: str, problem: str) -> None:
    device = cloud.device()
    cloud.hub.certificate(kind)  # type: ignore[arg-type]
    with uplink(device) as up:
        up.send(*device.sealed(1))
        assert problem in up.wait_for(messages.HubLost).reason
        assert device.numbers() == []
        cloud.hub.certificate("good")
        up.delivered(1)


def test_a_device_that_the_hub_does_not_know_gets_in_once_it_does(cloud: Bench) -> None:
    device = cloud.stranger()
    with uplink(device) as up:
        up.wait_for(messages.HubLost)
        cloud.hub.register(device.name, certificates=[device.certificate])
        up.wait_for(messages.UplinkReady)


def test_a_revoked_device_is_thrown_out_and_refused(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        cloud.hub.enable(device.name, enabled=False)
        up.wait_for(messages.HubLost)
        up.wait_for(messages.UplinkHealth, lambda one: one.last_fault == "refused")


def test_two_devices_with_one_identity_end_each_others_connection(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as first, uplink(device) as second:
        first.wait_for(messages.UplinkReady)
        second.wait_for(messages.UplinkReady)
        lost = first.wait_for(messages.UplinkHealth, lambda one: one.connections >= 2)
        assert lost.connections >= 2  # visible in the health record of both


def _wrong_key(directory: Path, bench: Bench) -> None:
    del bench
    (directory / identity.KEY_FILE).unlink()
    identity.KeyFile.create(directory / identity.KEY_FILE)


def _of_another(directory: Path, bench: Bench) -> None:
    key = identity.KeyFile(directory / identity.KEY_FILE)
    certificate = bench.batch.device(key.request("another"))
    (directory / identity.CERTIFICATE_FILE).write_bytes(certificate)


def _readable_key(directory: Path, bench: Bench) -> None:
    del bench
    (directory / identity.KEY_FILE).chmod(0o644)


def _truncated(directory: Path, bench: Bench) -> None:
    del bench
    path = directory / identity.CERTIFICATE_FILE
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("spoil", [_wrong_key, _of_another, _readable_key, _truncated])
def test_an_unusable_identity_ends_the_uplink_with_status_16(cloud: Bench, spoil: object) -> None:
    device = cloud.device()
    assert callable(spoil)
    spoil(device.directory, cloud)
    with uplink(device) as up:
        failed = up.wait_for(messages.Failed)
        assert failed.error == "ProvisioningError"
        assert failed.remedy
        assert up.ended() == 16


def test_a_certificate_out_of_date_is_no_reason_to_stop_counting(cloud: Bench) -> None:
    """It may be the clock that is wrong, and that mends itself."""
    device = cloud.stranger(days=-1)
    with uplink(device) as up:
        assert "expired on" in up.wait_for(messages.HubLost).reason
        up.wait_for(messages.UplinkHealth, lambda one: one.last_fault == "expired")
        up.wait_for(messages.HubLost)  # and it tries again
        assert '"hub_refused"' in up.words()


def test_a_trust_file_of_another_authority_trusts_nobody(cloud: Bench, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    Authority.root("Somebody else").save(tmp_path, "other")
    device = cloud.device(trust=str(other))
    with uplink(device) as up:
        assert "not trusted" in up.wait_for(messages.HubLost).reason


# ---- the twin and methods ----------------------------------------------------------------------


def test_the_twins_mark_of_numbers_is_told(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up:
        assert up.wait_for(messages.UplinkReady).reported_number == 0
        up.send(messages.Report({"numbers": 512}))
        eventually(lambda: cloud.hub.twin(device.name)["reported"].get("numbers") == 512)
        assert up.stopped() == 0
    with uplink(device) as up:
        assert up.wait_for(messages.UplinkReady).reported_number == 512


def test_a_method_call_goes_to_the_supervisor_and_its_answer_back(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        service = cloud.hub.__class__(cloud.hub.state)  # the call blocks its own connection
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(service.call, device.name, "ping", {"n": 1})
            call = up.wait_for(messages.MethodCall)
            assert (call.name, call.payload) == ("ping", {"n": 1})
            up.send(messages.MethodResult(call.request, 200, {"pong": True}))
            assert asked.result(30) == (200, {"pong": True})
        service.close()


def test_a_refused_report_does_not_stop_the_records(cloud: Bench) -> None:
    device = cloud.device()
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        up.send(messages.Report({"note": "x" * 5000}), *device.sealed(1))  # twin strings: 4 KB
        up.delivered(1)
        assert up.stopped() == 0
        assert '"report_refused"' in up.words()


# ---- logs --------------------------------------------------------------------------------------


def test_logs_hold_fixed_events_and_no_secret(cloud: Bench) -> None:
    device = cloud.device()
    cloud.hub.fault("abort", "telemetry", device=device.name, count=2)
    with uplink(device) as up:
        up.send(*device.sealed(1, 2, 3))
        up.delivered(1, 2, 3)
        cloud.hub.certificate("stranger")
        cloud.hub.kick(device.name)
        up.wait_for(messages.HubLost)
        words = up.words()
    key = (device.directory / identity.KEY_FILE).read_text().splitlines()[1]
    for secret in (key, cloud.host, str(device.directory), "Traceback", "CERTIFICATE", "issuer"):
        assert secret not in words
    lines = [json.loads(line) for line in words.splitlines()]
    assert {"hub_connected", "hub_lost"} <= {line["event"] for line in lines}
    for line in lines:
        assert set(line) - {"at", "event"} <= event_log.EVENTS[line["event"]]
    times = [line["at"] for line in lines]
    assert all(a <= b for a, b in itertools.pairwise(times))
