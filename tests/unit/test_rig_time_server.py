"""The time that a rig gives its board, asked for as a board asks."""

from __future__ import annotations

import socket
import struct
import time

from hil.rigs.time_server import TimeServer

_TO_1900_S = 2_208_988_800


def test_it_says_what_time_it_is_and_what_it_was_asked() -> None:
    server = TimeServer("127.0.0.1", 0)
    question = bytes([0x23]) + bytes(39) + b"question"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
        board.settimeout(10)
        board.sendto(b"too short", ("127.0.0.1", server.port))
        board.sendto(question, ("127.0.0.1", server.port))
        answer = board.recv(512)
    server.close()
    assert len(answer) == 48
    assert answer[0] & 0b111 == 4 and answer[0] >> 6 == 0, "a server that knows the time"
    assert 0 < answer[1] < 16, "its stratum"
    assert answer[24:32] == b"question"
    received_s, sent_s = (struct.unpack(">I", answer[at : at + 4])[0] for at in (32, 40))
    assert all(abs(each - _TO_1900_S - time.time()) < 60 for each in (received_s, sent_s))
