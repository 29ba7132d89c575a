"""MQTT packets: what is written is read back, and nothing else gets in."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.local_hub import mqtt
from hil.local_hub.mqtt import ProtocolError
from hil.local_hub.packet_stream import PacketStream, decode

fuzz = settings(derandomize=True, deadline=None, max_examples=500)

LIMIT = 4096

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
topics = st.text(
    st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=40
)
numbers = st.integers(1, 0xFFFF)
payloads = st.binary(max_size=200)
publishes = st.one_of(
    st.builds(mqtt.Publish, topics, payloads, st.just(0), st.none(), st.booleans(), st.booleans()),
    st.builds(mqtt.Publish, topics, payloads, st.just(1), numbers, st.booleans(), st.booleans()),
)
wills = st.builds(
    mqtt.Publish, texts, payloads, st.integers(0, 1), st.none(), st.booleans(), st.just(False)
)


@st.composite
def connects(draw: st.DrawFn) -> mqtt.Connect:
    username = draw(st.none() | texts)
    password = None if username is None else draw(st.none() | payloads)
    will = draw(st.none() | wills)
    return mqtt.Connect(
        draw(texts), username, password, draw(st.booleans()), draw(st.integers(0, 0xFFFF)), will
    )


filters = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
packets = st.one_of(
    connects(),
    publishes,
    st.builds(mqtt.Connack, st.integers(0, 255), st.booleans()),
    st.builds(mqtt.Puback, numbers),
    st.builds(
        mqtt.Subscribe,
        numbers,
        st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(mqtt.Suback, numbers, st.lists(st.integers(0, 255), max_size=3).map(tuple)),
    st.builds(mqtt.Unsubscribe, numbers, st.lists(filters, min_size=1, max_size=3).map(tuple)),
    st.builds(mqtt.Unsuback, numbers),
    st.sampled_from([mqtt.Pingreq(), mqtt.Pingresp(), mqtt.Disconnect()]),
)


@fuzz
@given(st.lists(packets, max_size=5), st.lists(st.integers(1, 50), max_size=20))
def test_packets_come_back_however_the_network_cuts_them(
    sent: list[mqtt.Packet], cuts: list[int]
) -> None:
    octets = b"".join(packet.encode() for packet in sent)
    stream = PacketStream(LIMIT)
    received: list[mqtt.Packet] = []
    for cut in [*cuts, len(octets)]:
        received += stream.feed(octets[:cut])
        octets = octets[cut:]
    assert received == sent


firsts = st.sampled_from([0x10, 0x20, 0x30, 0x32, 0x40, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xE0])
strings = st.builds(
    lambda n, rest: bytes((0, n)) + rest, st.integers(0, 12), st.binary(max_size=12)
)
near_bodies = st.lists(st.one_of(strings, st.binary(max_size=4)), max_size=4).map(b"".join)
near_packets = st.builds(lambda first, body: bytes((first, len(body))) + body, firsts, near_bodies)
"""Octets that come close enough to packets to get deep into the reader."""


@fuzz
@given(st.lists(st.one_of(near_packets, st.binary(max_size=300)), max_size=20))
def test_any_octets_give_packets_or_a_protocol_error(chunks: list[bytes]) -> None:
    stream = PacketStream(LIMIT)
    try:
        for chunk in chunks:
            for packet in stream.feed(chunk):
                assert packet.encode()
            assert len(stream._buffer) < LIMIT + 5  # never more than one packet is kept
    except ProtocolError:
        pass


@fuzz
@given(st.one_of(firsts, st.integers(0, 255)), st.one_of(near_bodies, st.binary(max_size=300)))
def test_any_body_gives_a_packet_or_a_protocol_error(first: int, body: bytes) -> None:
    try:
        packet = decode(first, body)
    except ProtocolError:
        return
    [again] = PacketStream(LIMIT).feed(packet.encode())
    assert again == packet


@fuzz
@given(packets, st.data())
def test_one_flipped_bit_gives_packets_or_a_protocol_error(
    packet: mqtt.Packet, data: st.DataObject
) -> None:
    octets = bytearray(packet.encode())
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(ProtocolError):
        list(PacketStream(LIMIT).feed(bytes(octets)))


def test_a_packet_over_the_limit_is_refused_by_its_header() -> None:
    stream = PacketStream(LIMIT)
    with pytest.raises(ProtocolError, match="over the limit"):
        list(stream.feed(bytes((0x30, 0xFF, 0xFF, 0xFF, 0x7F))))


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("3003000561", "ends too early"),
        ("34060001610001" + "78", "QoS 2"),
        ("32050001610000", "packet id 0"),
        ("3003000123", "without wildcards"),
        ("3003000100", "U\\+0000"),
        ("30030001ff", "not UTF-8"),
        ("8006" + "0001" + "00016100", "type 8 with flags 0"),
        ("82020001", "subscription without a filter"),
        ("a2020001", "unsubscription without a filter"),
        ("c00100", "after the end"),
        ("f000", "type 15"),
        ("0000", "type 0"),
        ("308080808001", "over four bytes"),
        ("100c00064d514973647003020000", "MQIsdp"),
        ("100c00044d51545405020000" + "0000", "level 5"),
        ("100c00044d51545404030000" + "0000", "connect flags 0x03"),
        ("100e00044d51545404420000" + "00000000", "connect flags 0x42"),
        ("20020200", "acknowledge flags"),
    ],
)
def test_what_the_standard_forbids_is_refused(octets: str, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        list(PacketStream(LIMIT).feed(bytes.fromhex(octets)))


@pytest.mark.parametrize("first", [0x00, 0x47, 0x80, 0xF0])
def test_no_more_is_waited_for_after_an_unknown_first_octet(first: int) -> None:
    with pytest.raises(ProtocolError):
        list(PacketStream(LIMIT).feed(bytes((first,))))


def test_what_is_not_complete_yet_is_waited_for() -> None:
    stream = PacketStream(LIMIT)
    assert list(stream.feed(bytes.fromhex("30"))) == []
    assert list(stream.feed(bytes.fromhex("05000161"))) == []
    assert list(stream.feed(b"hi")) == [mqtt.Publish("a", b"hi")]
