"""Faults strike where, whom, how often and with what probability they were told to."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hil.local_hub import mqtt
from hil.local_hub.errors import ServiceError
from hil.local_hub.faults import Fault, Faults
from hil.local_hub.garbage import KINDS, OCTETS, Kind, garbage
from hil.local_hub.packet_stream import PacketStream


def struck(fault: Fault, packets: int, *, device: str = "dev1", seed: int = 0) -> list[int]:
    faults = Faults(seed)
    faults.arm(fault)
    return [at for at in range(packets) if faults.strike("telemetry", device)]


def test_a_fault_strikes_so_often_after_so_many() -> None:
    assert struck(Fault("abort", count=2, skip=3), 10) == [3, 4]
    assert struck(Fault("abort"), 3) == [0, 1, 2]


def test_a_fault_strikes_only_there_and_those() -> None:
    assert struck(Fault("abort", "twin"), 3) == []
    assert struck(Fault("abort", device="dev2"), 3) == []
    assert struck(Fault("abort", device="dev*"), 3) == [0, 1, 2]


def test_a_probability_is_kept_and_a_seed_repeats_it() -> None:
    fault = Fault("drop", probability=0.1)
    first = struck(fault, 10_000, seed=7)
    assert 850 < len(first) < 1150
    assert struck(fault, 10_000, seed=7) == first
    assert struck(fault, 10_000, seed=8) != first
    assert struck(Fault("drop", probability=0.0), 100) == []


def test_the_first_that_strikes_wins_and_all_can_be_cleared() -> None:
    faults = Faults()
    faults.arm(Fault("abort", count=1))
    faults.arm(Fault("no_ack"))
    strikes = [faults.strike("telemetry", "dev1") for _ in range(2)]
    assert [strike and strike.action for strike in strikes] == ["abort", "no_ack"]
    assert [one["action"] for one in faults.armed()] == ["no_ack"]
    faults.clear()
    assert faults.strike("telemetry", "dev1") is None
    assert faults.struck == 2


def test_a_refusal_has_the_code_of_its_place() -> None:
    assert Fault("refuse", "connect").code == 3
    assert Fault("refuse", "twin").code == 500
    assert Fault("refuse", "dps", code=404).code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "explode"},
        {"action": "abort", "point": "nowhere"},
        {"action": "refuse", "point": "telemetry"},
        {"action": "no_ack", "point": "connect"},
        {"action": "abort", "probability": 1.1},
        {"action": "abort", "count": 0},
        {"action": "delay", "seconds": -1},
        {"action": "garbage", "point": "dps", "kind": "gibberish"},
        {"action": "garbage", "point": "telemetry", "kind": "text"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as error:
        Fault(**fields)
    assert error.value.status == 400


@pytest.mark.parametrize("kind", sorted(KINDS - OCTETS))
@pytest.mark.parametrize(
    ("request_topic", "answers"),
    [
        ("$dps/registrations/PUT/x/?$rid=7f&operationId=1", "$dps/registrations/res/"),
        ("$iothub/twin/GET/?$rid=7f", "$iothub/twin/res/"),
    ],
)
def test_garbage_for_a_request_is_a_packet_in_the_place_of_its_answer(
    kind: Kind, request_topic: str, answers: str
) -> None:
    octets = garbage(kind, "dev1", request_topic, random.Random(0))
    (packet,) = PacketStream(1024).feed(octets)
    assert isinstance(packet, mqtt.Publish) and packet.topic.startswith(answers)
    assert ("$rid=7f" in packet.topic) == (kind not in ("foreign", "nameless"))


def test_garbage_in_the_place_of_any_answer_is_no_packet_that_ends() -> None:
    stream = PacketStream(1 << 20)
    assert list(stream.feed(garbage("partial", "dev1", "", random.Random(0)) + bytes(1000))) == []
    with pytest.raises(mqtt.ProtocolError):
        list(PacketStream(1024).feed(garbage("unknown", "dev1", "", random.Random(0))))
