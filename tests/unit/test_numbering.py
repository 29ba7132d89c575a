"""Numbers go up and are never used twice, also after crashes and damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware.errors import ProvisioningError
from firmware.numbering import BLOCK, NumberFile, Numbers


def test_reservation_is_on_disk_before_the_first_number_is_used(tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    lease = Numbers(NumberFile(file)).lease()
    assert lease == range(1, BLOCK + 1)
    assert int(file.read_text()) == lease[-1]


def test_power_cut_skips_the_unused_rest_and_reuses_nothing(tmp_path: Path) -> None:
    file = NumberFile(tmp_path / "numbers")
    first = Numbers(file)
    first.lease()
    first.seal(3)
    assert Numbers(file).lease() == range(BLOCK + 1, 2 * BLOCK + 1)


def test_replaced_vision_goes_on_where_the_last_one_sealed(tmp_path: Path) -> None:
    numbers = Numbers(NumberFile(tmp_path / "numbers"))
    numbers.lease()
    numbers.seal(1)
    numbers.seal(2)
    assert numbers.lease() == range(3, BLOCK + 1)


def test_next_block_comes_before_the_old_one_runs_out(tmp_path: Path) -> None:
    numbers = Numbers(NumberFile(tmp_path / "numbers"))
    given = list(numbers.lease())
    used: list[int] = []
    while len(used) < 3 * BLOCK:
        number = given.pop(0)
        used.append(number)
        given += numbers.seal(number) or ()
    assert used == list(range(1, 3 * BLOCK + 1))


def test_vision_replaced_after_a_second_lease_goes_on_in_the_old_block(tmp_path: Path) -> None:
    numbers = Numbers(NumberFile(tmp_path / "numbers"))
    numbers.lease()
    low = BLOCK - BLOCK // 4
    assert numbers.seal(low) == range(BLOCK + 1, 2 * BLOCK + 1)
    assert numbers.lease()[0] == low + 1


def test_twin_ahead_of_the_file_wins(tmp_path: Path) -> None:
    numbers = Numbers(NumberFile(tmp_path / "numbers"))
    numbers.start_after(10_000)
    assert numbers.lease()[0] == 10_001


def test_twin_behind_the_file_changes_nothing(tmp_path: Path) -> None:
    numbers = Numbers(NumberFile(tmp_path / "numbers"))
    numbers.lease()
    numbers.seal(200)
    numbers.start_after(7)
    assert numbers.lease()[0] == 201


def test_device_without_a_file_does_not_know_where_to_go_on(tmp_path: Path) -> None:
    numbers = Numbers(NumberFile(tmp_path / "numbers"))
    assert not numbers.known
    numbers.lease()
    assert numbers.known


@pytest.mark.parametrize("content", [b"", b"12", b"-4\n", b"x\n", b"\xff\n", b"1" * 30 + b"\n"])
def test_damaged_file_is_refused_rather_than_guessed(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "numbers"
    file.write_bytes(content)
    with pytest.raises(ProvisioningError, match="damaged"):
        NumberFile(file).last()


def test_half_written_draft_of_a_power_cut_is_ignored(tmp_path: Path) -> None:
    file = NumberFile(tmp_path / "numbers")
    file.reserve(0)
    (tmp_path / "numbers.new").write_text("5")
    assert file.last() == BLOCK
    assert file.reserve(0)[0] == BLOCK + 1


def test_unwritable_partition_stops_numbering(tmp_path: Path) -> None:
    with pytest.raises(ProvisioningError, match="cannot be reserved"):
        NumberFile(tmp_path / "missing" / "numbers").reserve(0)
