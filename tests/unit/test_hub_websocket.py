"""WebSocket framing: what a client sends comes out whole; what none may send is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.local_hub.mqtt import ProtocolError
from hil.local_hub.websocket import MAX_FRAME, MAX_REQUEST, WebSocketWire, upgrade

fuzz = settings(derandomize=True, deadline=None, max_examples=200)

REQUEST = (
    b"GET /$iothub/websocket HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def masked(payload: bytes, opcode: int = 2, *, final: bool = True, mask: bytes = b"mask") -> bytes:
    """A client's frame, by the letter of RFC 6455 section 5.2."""
    length = len(payload)
    if length < 126:
        head = bytes((opcode | 0x80 * final, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((opcode | 0x80 * final, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((opcode | 0x80 * final, 0x80 | 127)) + length.to_bytes(8, "big")
    return head + mask + bytes(one ^ mask[at % 4] for at, one in enumerate(payload))


def upgraded() -> WebSocketWire:
    wire = WebSocketWire()
    wire.received(REQUEST)
    return wire


def test_the_upgrade_is_answered_as_in_the_standard_s_example() -> None:
    payload, reply = WebSocketWire().received(REQUEST)
    assert payload == b""
    assert reply.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in reply
    assert b"Sec-WebSocket-Protocol: mqtt\r\n" in reply


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        (b"GET", b"POST"),
        (b"/$iothub/websocket", b"/elsewhere"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"keep-alive, Upgrade", b"keep-alive"),
        (b"Version: 13", b"Version: 8"),
        (b"Protocol: mqtt", b"Protocol: amqp"),
    ],
)
def test_another_request_is_refused(there: bytes, instead: bytes) -> None:
    with pytest.raises(ProtocolError):
        upgrade(REQUEST.replace(there, instead))


def test_a_request_without_end_is_refused() -> None:
    wire = WebSocketWire()
    with pytest.raises(ProtocolError):
        for _ in range(3):
            wire.received(b"GET /" + b"a" * (MAX_REQUEST // 2))


@fuzz
@given(
    st.lists(st.binary(max_size=400), max_size=6),
    st.binary(min_size=4, max_size=4),
    st.lists(st.integers(1, 60), max_size=30),
)
def test_payloads_come_out_however_the_network_cuts_them(
    sent: list[bytes], mask: bytes, cuts: list[int]
) -> None:
    octets = b"".join(masked(one, mask=mask) for one in sent)
    wire, received = upgraded(), b""
    for cut in [*cuts, len(octets)]:
        received += wire.received(octets[:cut])[0]
        octets = octets[cut:]
    assert received == b"".join(sent)


def test_a_long_payload_comes_out_whole() -> None:
    payload = bytes(range(256)) * 300
    assert upgraded().received(masked(payload)) == (payload, b"")


def test_fragments_are_joined_and_a_ping_between_them_is_answered() -> None:
    frames = masked(b"ab", final=False) + masked(b"?", 9) + masked(b"cd", 0)
    assert upgraded().received(frames) == (b"abcd", b"\x8a\x01?")


def test_a_close_is_answered() -> None:
    assert upgraded().received(masked(b"\x03\xe8bye", 8)) == (b"", b"\x88\x02\x03\xe8")


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82\x01a",  # not masked
        masked(b"a", 1),  # text
        masked(b"a", 3),  # an unknown opcode
        masked(b"a", 0),  # the rest of nothing
        masked(b"a", 9, final=False),  # a control frame in pieces
        masked(b"a" * 126, 9),  # a long control frame
        b"\xc2\x80mask",  # a reserved bit
        b"\x82\xff" + (MAX_FRAME + 1).to_bytes(8, "big") + b"mask",
        masked(b"a", final=False) + masked(b"b"),  # a message within a message
    ],
)
def test_a_frame_that_no_client_may_send_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        upgraded().received(frame)


@fuzz
@given(st.lists(st.binary(max_size=300), max_size=10), st.booleans())
def test_any_octets_give_octets_or_a_protocol_error(chunks: list[bytes], after: bool) -> None:
    wire = upgraded() if after else WebSocketWire()
    try:
        for chunk in chunks:
            wire.received(chunk)
            assert len(wire._buffer) < MAX_FRAME + 14  # never more than one frame is kept
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65_535, "827effff"),
        (65_536, "827f0000000000010000"),
    ],
)
def test_a_server_s_frame_has_the_shortest_header(length: int, head: str) -> None:
    assert WebSocketWire().sending(bytes(length)) == bytes.fromhex(head) + bytes(length)
