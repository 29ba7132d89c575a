"""The outbox keeps order, gives up the oldest, counts what it gave up, and resends."""

from __future__ import annotations

from firmware.outbox import WINDOW, Outbox


def _filled(count: int, capacity: int = 1000) -> Outbox:
    outbox = Outbox(capacity)
    for number in range(1, count + 1):
        outbox.put(number, bytes([number % 256]))
    return outbox


def test_envelopes_leave_in_order_and_only_once() -> None:
    outbox = _filled(3)
    assert [n for n, _ in outbox.hand_over()] == [1, 2, 3]
    assert list(outbox.hand_over()) == []


def test_envelope_stays_until_it_is_acknowledged() -> None:
    outbox = _filled(2)
    list(outbox.hand_over())
    assert len(outbox) == 2
    outbox.acknowledge([1])
    assert len(outbox) == 1 and outbox.delivered == 1


def test_lost_uplink_means_everything_unacknowledged_goes_out_again_in_order() -> None:
    outbox = _filled(4)
    list(outbox.hand_over())
    outbox.acknowledge([2])
    outbox.put(5, b"")
    outbox.take_back()
    assert [n for n, _ in outbox.hand_over()] == [1, 3, 4, 5]


def test_late_acknowledgement_after_take_back_counts_once() -> None:
    outbox = _filled(1)
    list(outbox.hand_over())
    outbox.take_back()
    outbox.acknowledge([1, 1, 99])
    assert outbox.delivered == 1 and len(outbox) == 0


def test_full_outbox_drops_the_oldest_waiting_and_counts_it() -> None:
    outbox = _filled(3, capacity=3)
    assert not outbox.put(4, b"")
    assert outbox.dropped == 1
    assert [n for n, _ in outbox.hand_over()] == [2, 3, 4]


def test_full_outbox_spares_what_is_already_with_the_uplink() -> None:
    outbox = _filled(2, capacity=3)
    list(outbox.hand_over())
    outbox.put(3, b"")
    outbox.put(4, b"")
    outbox.take_back()
    assert [n for n, _ in outbox.hand_over()] == [1, 2, 4]


def test_capacity_holds_even_when_all_of_it_is_with_the_uplink() -> None:
    outbox = _filled(2, capacity=2)
    list(outbox.hand_over())
    outbox.put(3, b"")
    assert len(outbox) == 2 and outbox.dropped == 1


def test_uplink_never_has_more_than_the_window() -> None:
    outbox = _filled(WINDOW + 10)
    assert len(list(outbox.hand_over())) == WINDOW
    outbox.acknowledge(range(1, 4))
    assert [n for n, _ in outbox.hand_over()] == [WINDOW + 1, WINDOW + 2, WINDOW + 3]
