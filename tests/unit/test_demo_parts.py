"""The demo's counting, its verdict and its two screens, with really sealed records."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from firmware.device_trust import DeviceTrust
from firmware.envelope import pack
from firmware.health import Health
from firmware.reader import Opened, Reader
from firmware.record import (
    AgeCategory,
    AgeEstimate,
    Gender,
    GenderEstimate,
    HealthBody,
    Interaction,
)
from firmware.sealing import seal, sign
from hil.demo import overview, terminal
from hil.demo.__main__ import verdict
from hil.demo.arrivals import Arrivals
from hil.local_hub import Event
from tests import keys

DEVICE = keys.Signing("device")
VISIT = Interaction(
    start_utc_s=0,
    dwell_ms=4_200,
    attention_ms=3_100,
    age=AgeEstimate(AgeCategory.A35_44, "high"),
    gender=GenderEstimate(Gender.FEMALE, "medium"),
)


class Shown(terminal.Lines):
    """Plain lines, and the numbers of the records that were shown."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def record(self, opened: Opened, ciphertext: bytes) -> None:
        assert ciphertext
        self.numbers.append(opened.number)


def arrivals(shown: terminal.Screen, folder: Path) -> Arrivals:
    trust = DeviceTrust({"demo": [DEVICE.private.public_key()]})
    return Arrivals(folder / "capture.jsonl", Reader([keys.private_key()], trust), shown)


def message(*numbers: int, signer: keys.Signing = DEVICE) -> Event:
    signed = [
        sign(seal(VISIT, number=number, device="demo", recipient=keys.recipient()), signer)
        for number in numbers
    ]
    return Event("hub", "demo", "m", pack(signed)[0], {}, {}, 0.0)


def test_what_came_is_counted_and_shown_once(tmp_path: Path) -> None:
    shown = Shown()
    count = arrivals(shown, tmp_path)
    first = message(1, 2)
    for each in (first, message(3), first):
        count.take(each)
    assert (count.delivered, count.opened, count.duplicates) == ({1, 2, 3}, {1, 2, 3}, 2)
    assert (count.messages, count.refused, shown.numbers) == (3, [], [1, 2, 3])


def test_a_forged_envelope_is_delivered_but_not_opened(tmp_path: Path) -> None:
    count = arrivals(Shown(), tmp_path)
    count.take(message(1, signer=keys.Signing("thief")))
    assert (count.delivered, count.opened, len(count.refused)) == ({1}, set(), 1)


def test_a_message_that_is_none_is_refused(tmp_path: Path) -> None:
    count = arrivals(Shown(), tmp_path)
    count.take(Event("hub", "demo", "m", b"\x01\x00\xffhalf", {}, {}, 0.0))
    assert (count.delivered, len(count.refused)) == (set(), 1)


@pytest.mark.parametrize(
    ("change", "refused", "status"),
    [
        ({}, 0, 0),
        ({"delivered": 3}, 0, 1),
        ({"opened": 3}, 0, 1),
        ({"visitors": 5}, 0, 1),
        ({"duplicates": 1}, 0, 1),
        ({}, 1, 1),
    ],
)
def test_the_exit_status_says_whether_all_was_well(
    change: dict[str, int], refused: int, status: int
) -> None:
    figures = {"visitors": 4, "delivered": 4, "opened": 4, "duplicates": 0} | change
    assert verdict(figures, refused) == status


def told(screen: terminal.Screen) -> None:
    """A whole story."""
    screen.stage("hub: here")
    screen.guarantee("no_network", holds=False)
    screen.status(
        {
            "frames": 50,
            "frames_per_s_x10": 250,
            "visitors_now": 2,
            "waiting": 1,
            "delivered": 3,
            "dropped": 0,
            "connected": True,
        }
    )
    screen.picture(np.full((72, 128, 3), 90, np.uint8))
    screen.progress("visitors walk past", 12, 24)
    screen.record(Opened("demo", "interaction", 17, VISIT), bytes(range(200)))
    screen.record(Opened("demo", "health", 18, health()), b"")


def health() -> HealthBody:
    return msgspec.convert(
        Health().record(waiting=0, delivered=0, dropped=0, paused=False, pids={}),
        HealthBody,
        strict=False,
    )


def test_lines_for_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    screen = terminal.Lines()
    told(screen)
    screen.close()
    assert capsys.readouterr().out.splitlines() == [
        "demo: hub: here",
        "demo: guarantee no_network does not hold here; flow-sensor doctor says why",
        "demo: visitors walk past 50 %",
        "demo: record 17  age 35-44 ●●●  gender female ●●○  expression unknown  "
        "dwell 4.2 s  (200 bytes sealed)",
    ]


@pytest.mark.parametrize(("width", "wide"), [(120, True), (80, False)])
def test_the_board_fits_its_terminal(
    width: int, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    console: dict[str, Any] = {"file": out, "force_terminal": True, "color_system": "truecolor"}
    monkeypatch.setattr(terminal, "Console", lambda: Console(width=width, height=40, **console))
    board = terminal.Board()
    told(board)
    board._live.refresh()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "").splitlines()
    shown = "\n".join(lines)
    board.close()
    assert max(map(len, lines)) <= width
    for what in ("✓ hub: here", "delivered  3", "17", "35-44 ●●●", "4.2 s", "0 of 1 guarantees"):
        assert what in shown
    assert ("200 bytes  bcbdbebf" in shown) == wide
    assert ("▀" * 56 in shown) == wide
    assert "18" not in shown.split("Opened records")[1]


@pytest.mark.parametrize(("status", "seen"), [(0, True), (1, False)])
def test_the_web_application_is_told_the_run_and_its_visitors(
    status: int, seen: bool, tmp_path: Path
) -> None:
    python, said = tmp_path / "python", tmp_path / "said"
    python.write_text(f'#!/bin/sh\necho "$@" > {said}; exit {status}\n')
    python.chmod(0o755)
    assert overview.show(python, Path("build/demo/run-1"), 4) is seen
    assert said.read_text() == "-m flow.demo build/demo/run-1 --visitors 4\n"
