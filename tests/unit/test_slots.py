"""Which slot starts: the script of initramfs and RAUC, on a file instead of a partition."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = (
    Path(__file__).parents[2] / "build_scripts/image/overlay/common/opt/flow-sensor/libexec/slots"
)
Slots = Callable[..., str]


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "slots"
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.fixture
def slots(device: Path) -> Slots:
    def call(*words: str) -> str:
        done = subprocess.run(
            ["sh", SCRIPT, device, *words], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    return call


def test_new_disk_starts_slot_a_and_nothing_is_written(slots: Slots, device: Path) -> None:
    assert slots("choose") == "a"
    assert slots("get-primary") == "a"
    assert (slots("get-state", "a"), slots("get-state", "b")) == ("good", "bad")
    assert device.read_bytes() == bytes(1 << 20)


def test_new_slot_has_three_tries_and_then_the_old_one_starts(slots: Slots) -> None:
    slots("set-primary", "b")
    assert [slots("choose") for _ in range(5)] == ["b", "b", "b", "a", "a"]
    assert slots("get-primary") == "a"


def test_committed_slot_keeps_starting(slots: Slots) -> None:
    slots("set-primary", "b")
    assert slots("choose") == "b"
    assert slots("get-state", "b") == "bad"  # on trial
    slots("set-state", "b", "good")
    assert [slots("choose") for _ in range(5)] == ["b"] * 5
    assert slots("get-state", "b") == "good"


def test_slot_that_was_judged_bad_is_left_at_the_next_start(slots: Slots) -> None:
    slots("set-primary", "b")
    slots("choose")
    slots("set-state", "b", "bad")
    assert slots("choose") == "a"


def test_with_two_bad_slots_the_chosen_one_is_still_tried(slots: Slots) -> None:
    slots("set-state", "a", "bad")
    slots("set-state", "b", "bad")
    assert slots("choose") == "a"


@pytest.mark.parametrize("sector", [0, 8])
@pytest.mark.parametrize("cut", [1, 20, 80])
def test_torn_write_leaves_the_state_before_or_after_it(
    slots: Slots, device: Path, sector: int, cut: int
) -> None:
    """A power cut while one copy is written: its first bytes are new, the others old."""
    slots("set-primary", "b")
    if sector == 8:
        slots("choose")  # the copies take turns
    before = device.read_bytes()
    slots("set-state", "b", "good")
    after = device.read_bytes()
    at = sector * 512
    written = 0 if before[:512] != after[:512] else 8
    assert written == sector
    device.write_bytes(before[:at] + after[at : at + cut] + before[at + cut :])
    assert slots("get-primary") == "b"
    assert slots("get-state", "b") in ("good", "bad")
    slots("set-state", "b", "good")
    assert slots("get-state", "b") == "good"


@pytest.mark.parametrize("words", [("set-primary", "c"), ("set-state", "a", "odd"), ("format",)])
def test_anything_else_is_refused(slots: Slots, words: tuple[str, ...]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        slots(*words)
