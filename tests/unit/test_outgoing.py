"""What waits for the hub: precedence, packing, and nothing forgotten before it is acknowledged."""

from __future__ import annotations

import pytest

from firmware.envelope import MAX_BODY, unpack
from firmware.uplink.outgoing import LINGER_S, Answer, Outgoing, Parcel, Patch, merged

RECORD = bytes(1700)
"""Two of these fill a hub message."""


def taken(outgoing: Outgoing) -> Parcel:
    item = outgoing.next(LINGER_S * 4)
    assert isinstance(item, Parcel)
    return item


def filled(*numbers: int) -> Outgoing:
    outgoing = Outgoing()
    for number in numbers:
        outgoing.put_record(number, RECORD)
    return outgoing


def test_a_full_message_goes_at_once_and_the_rest_lingers() -> None:
    outgoing = filled(1, 2, 3)
    first = outgoing.next(0)
    assert isinstance(first, Parcel)
    assert (first.numbers, first.message_id) == ((1, 2), "1-2")
    assert len(first.body) <= MAX_BODY
    assert unpack(first.body) == [RECORD, RECORD]
    outgoing.sent(first)
    assert outgoing.next(0) is None  # 3 waits for company
    assert taken(outgoing).numbers == (3,)


def test_nothing_lingers_at_the_stop() -> None:
    outgoing = filled(1)
    outgoing.hurry()
    assert outgoing.next(0) is not None


def test_an_unacknowledged_message_stays_the_same_whatever_comes() -> None:
    outgoing = filled(1)
    first = taken(outgoing)
    outgoing.put_record(2, RECORD)
    outgoing.disconnected()
    assert outgoing.next(0) is first
    outgoing.sent(first)
    assert taken(outgoing).numbers == (2,)


def test_answers_go_first_then_the_patch_then_records_then_health() -> None:
    outgoing = filled(1, 2)
    outgoing.put_health(7, RECORD)
    outgoing.put_patch({"numbers": 256})
    outgoing.put_answer(Answer("r", 200, {}))
    kinds = []
    while (item := outgoing.next(0)) is not None:
        kinds.append(item.kind if isinstance(item, Parcel) else type(item).__name__)
        outgoing.sent(item)
    assert kinds == ["Answer", "Patch", "records", "health"]
    assert outgoing.empty


def test_health_that_cannot_be_sent_makes_room_for_newer() -> None:
    outgoing = Outgoing()
    for number in range(100):
        outgoing.put_health(number, RECORD)
    kept = []
    while (item := outgoing.next(0)) is not None:
        assert isinstance(item, Parcel)
        kept.append(int(item.message_id[1:]))
        outgoing.sent(item)
    assert kept[-1] == 99
    assert len(kept) < 100


def test_health_replaced_while_it_was_sent_takes_nothing_else_along() -> None:
    outgoing = Outgoing()
    outgoing.put_health(0, RECORD)
    item = outgoing.next(0)
    assert item is not None
    for number in range(1, 33):  # pushes number 0 out
        outgoing.put_health(number, RECORD)
    outgoing.sent(item)
    left = outgoing.next(0)
    assert isinstance(left, Parcel)
    assert left.message_id == "h1"


def test_what_is_reported_during_a_report_is_sent_too() -> None:
    outgoing = Outgoing()
    outgoing.put_patch({"a": 1})
    first = outgoing.next(0)
    outgoing.put_patch({"b": 2})
    assert isinstance(first, Patch)
    outgoing.sent(first)
    second = outgoing.next(0)
    assert isinstance(second, Patch)
    assert second.properties["b"] == 2


def test_answers_die_with_their_connection() -> None:
    outgoing = Outgoing()
    outgoing.put_answer(Answer("r", 200, {}))
    outgoing.disconnected()
    assert outgoing.next(0) is None


def test_wake_ends_a_wait() -> None:
    outgoing = filled(1, 2)
    outgoing.wake()
    assert outgoing.next(60) is None
    assert outgoing.next(60) is not None


@pytest.mark.parametrize(
    ("older", "newer", "both"),
    [
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),  # still has to delete
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_patches_merge(older: dict[str, object], newer: dict[str, object], both: object) -> None:
    assert merged(older, newer) == both
