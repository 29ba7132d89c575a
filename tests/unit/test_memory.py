from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from firmware.vision import memory


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    memory.release("test_a")
    memory.release("test_b")


def test_buffers_are_zeroed_contiguous_and_start_on_a_page() -> None:
    buffer = memory.allocate("test_a.pixels", (3, 5, 3), np.uint8)
    assert buffer.shape == (3, 5, 3)
    assert not buffer.any()
    assert buffer.flags.c_contiguous and buffer.flags.writeable
    assert buffer.ctypes.data % 4096 == 0


def test_wipe_of_an_owner_leaves_the_others() -> None:
    mine = memory.allocate("test_a.votes", (4,), np.float32)
    other = memory.allocate("test_b.votes", (4,), np.float32)
    mine.fill(1)
    other.fill(1)
    memory.wipe("test_a")
    assert not mine.any()
    assert other.all()


def test_wipe_zeroes_every_owner() -> None:
    one = memory.allocate("test_a.votes", (4,), np.float32)
    two = memory.allocate("test_b.votes", (4,), np.int64)
    one.fill(np.nan)
    two.fill(-1)
    memory.wipe()
    assert one.tobytes() == bytes(16)
    assert two.tobytes() == bytes(32)


def test_a_name_is_given_once_until_its_owner_is_released() -> None:
    old = memory.allocate("test_a.votes", (4,), np.float32)
    with pytest.raises(ValueError, match=r"test_a\.votes"):
        memory.allocate("test_a.votes", (4,), np.float32)
    old.fill(1)
    memory.release("test_a")
    assert not old.any()
    assert list(memory.buffers("test_a")) == []
    assert memory.allocate("test_a.votes", (4,), np.float32) is not old


def test_an_empty_buffer_is_allowed() -> None:
    assert memory.allocate("test_a.none", (0, 4), np.float32).shape == (0, 4)


def test_an_owner_is_the_whole_part_before_the_dot() -> None:
    longer = memory.allocate("test_ab.votes", (1,), np.float32)
    longer.fill(1)
    memory.wipe("test_a")
    assert longer.all()
    memory.release("test_ab")
