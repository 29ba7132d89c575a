"""Exactly once, whatever arrives and however often."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from io import StringIO

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management import call_command
from django.db import connection

from firmware.recipient import PrivateKey
from firmware.record import Interaction
from flow.figures import cube
from flow.figures.cube import Grain
from flow.ingest import presence, store, worker
from flow.ingest.opening import Message, Opener
from flow.ingest.store import Outcome
from flow.models import Cube, HealthReport, Quarantined, Sensor, SensorDay, Site
from tests.flow.devices import Device, visit
from tests.flow.visits import put


def _take(opener: Opener, *messages: Message) -> Outcome:
    return store.store(opener.open(messages))


def _stored() -> list[tuple[int, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number, hour, dwell_ds, clock FROM flow_interaction ORDER BY number")
        rows: list[tuple[int, ...]] = cursor.fetchall()
        return rows


def _visitors(site: Site, grain: Grain) -> float:
    rows = Cube.objects.filter(site=site, grain=grain)
    return sum(sum(s[0] for s in cube.decode(bytes(row.cells)).values()) for row in rows)


def test_a_sealed_record_becomes_a_row_and_a_sum(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    at = int(noon.timestamp())
    message = device.message([device.sealed(7, visit(at), recipient)], at + 5)
    assert _take(Opener([recipient]), message) == Outcome(new=1)
    assert _stored() == [(7, 13, 80, 1)]  # 11:00 UTC is 13:00 in Oslo in May
    for grain in Grain:
        assert _visitors(site, grain) == 1
    day = SensorDay.objects.get()
    assert (day.records, day.first, day.last, day.alive) == (1, 7, 7, 1 << 13)


def test_a_replay_changes_nothing(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    at = int(noon.timestamp())
    envelopes = [device.sealed(number, visit(at), recipient) for number in range(3)]
    messages = [device.message([envelope], at) for envelope in envelopes]
    opener = Opener([recipient])
    assert _take(opener, *messages, messages[0]) == Outcome(new=3, duplicates=1)
    before = list(Cube.objects.order_by("grain", "day").values_list("grain", "cells"))
    assert _take(opener, *messages) == Outcome(duplicates=3)
    assert list(Cube.objects.order_by("grain", "day").values_list("grain", "cells")) == before
    assert len(_stored()) == 3


def test_a_record_signed_again_is_still_the_same_record(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    at = int(noon.timestamp())
    envelope = device.sealed(1, visit(at), recipient)[:-64]
    twice = [envelope + device.sign(envelope) for _ in range(2)]
    assert twice[0] != twice[1]
    outcome = _take(Opener([recipient]), *(device.message([one], at) for one in twice))
    assert outcome == Outcome(new=1, duplicates=1)


def test_another_record_under_a_used_number_is_quarantined(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    at = int(noon.timestamp())
    opener = Opener([recipient])
    _take(opener, device.message([device.sealed(1, visit(at), recipient)], at))
    other = device.message([device.sealed(1, visit(at, dwell_ms=9000), recipient)], at)
    assert _take(opener, other).quarantined == 1
    assert "share one identity" in Quarantined.objects.get().reason
    assert len(_stored()) == 1


@pytest.mark.parametrize("case", ["foreign key", "altered", "other device", "unknown", "garbage"])
def test_what_cannot_be_believed_is_quarantined_with_the_reason(
    case: str, device: Device, recipient: PrivateKey, noon: datetime
) -> None:
    at = int(noon.timestamp())
    good = device.sealed(1, visit(at), recipient)
    message = device.message([good], at)
    stranger = Device("stranger", ec.generate_private_key(ec.SECP256R1()))
    bad, reason = {
        "foreign key": (
            device.message([device.sealed(1, visit(at), PrivateKey.generate())], at),
            "is not here",
        ),
        "altered": (
            message._replace(body=message.body[:-70] + b"\0" * 6 + message.body[-64:]),
            "not signed",
        ),
        "other device": (message._replace(device="stranger"), "came over the connection"),
        "unknown": (
            stranger.message([stranger.sealed(1, visit(at), recipient)], at),
            "a device known here",
        ),
        "garbage": (message._replace(body=b"\xff" * 40), "known version"),
    }[case]
    opener = Opener([recipient])
    assert _take(opener, bad) == Outcome(quarantined=1)
    _take(opener, bad)  # the same again is kept once
    assert reason in Quarantined.objects.get().reason
    assert not _stored()


def test_a_retired_sensor_is_refused_after_renewal(
    device: Device, recipient: PrivateKey, noon: datetime
) -> None:
    at = int(noon.timestamp())
    opener = Opener([recipient])
    Sensor.objects.update(retired=True)
    opener.renew()
    message = device.message([device.sealed(1, visit(at), recipient)], at)
    assert _take(opener, message) == Outcome(quarantined=1)


def test_a_sensor_without_certificates_hinders_nobody(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    Sensor.objects.create(device="made-up", name="made-up", site=site, certificates="")
    at = int(noon.timestamp())
    message = device.message([device.sealed(1, visit(at), recipient)], at)
    assert _take(Opener([recipient]), message) == Outcome(new=1)


def test_an_impossible_time_is_replaced_by_the_arrival(
    device: Device, recipient: PrivateKey, noon: datetime
) -> None:
    at = int(noon.timestamp())
    wrong = device.sealed(1, visit(86_400), recipient)
    unsure = device.sealed(2, visit(at, clock_synchronised=False), recipient)
    _take(Opener([recipient]), *(device.message([one], at) for one in (wrong, unsure)))
    assert _stored() == [(1, 13, 80, 0), (2, 13, 80, 0)]
    assert SensorDay.objects.get().unsynchronised == 2


def test_records_arrive_in_any_order_over_midnight_and_blocks(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    opener = Opener([recipient])
    start = noon + timedelta(hours=9)
    numbers = [1023, 1025, 1024, 1030]
    for number in reversed(numbers):
        at = int((start + timedelta(minutes=30 * (number - 1020))).timestamp())
        _take(opener, device.message([device.sealed(number, visit(at), recipient)], at))
    days = SensorDay.objects.order_by("day")
    assert [(day.first, day.last, day.records) for day in days] == [
        (1023, 1023, 1),
        (1024, 1030, 3),
    ]
    assert _visitors(site, Grain.DAY) == 4


def test_health_is_kept_and_shown(device: Device, recipient: PrivateKey, noon: datetime) -> None:
    at = int(noon.timestamp())
    body: dict[str, object] = {"schema": 1, "at_utc_s": at, "firmware": "1.2.3", "model_set": "ab"}
    opener = Opener([recipient])
    message = device.message([device.sealed_health(1, body, recipient)], at + 3)
    assert _take(opener, message) == Outcome(health=1)
    _take(opener, message)
    sensor = Sensor.objects.get()
    assert sensor.health["firmware"] == "1.2.3" and sensor.model_set == "ab"
    assert HealthReport.objects.count() == 1
    assert SensorDay.objects.get().alive == 1 << 13


def test_a_moved_sensor_counts_where_it_hangs_now(
    device: Device, recipient: PrivateKey, site: Site, other_site: Site, noon: datetime
) -> None:
    at = int(noon.timestamp())
    opener = Opener([recipient])
    _take(opener, device.message([device.sealed(1, visit(at), recipient)], at))
    Sensor.objects.update(site=other_site)
    _take(opener, device.message([device.sealed(2, visit(at), recipient)], at))
    assert _visitors(site, Grain.DAY) == _visitors(other_site, Grain.DAY) == 1


def test_a_failure_in_the_middle_stores_nothing(
    device: Device, recipient: PrivateKey, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = int(noon.timestamp())
    batch = Opener([recipient]).open([device.message([device.sealed(1, visit(at), recipient)], at)])

    def broken(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(presence, "keep", broken)
        with pytest.raises(RuntimeError):
            store.store(batch)
    assert not _stored() and not Cube.objects.exists()
    assert store.store(batch) == Outcome(new=1)


def test_the_worker_keeps_its_place(device: Device, recipient: PrivateKey, noon: datetime) -> None:
    at = int(noon.timestamp())
    messages = [
        device.message([device.sealed(number, visit(at), recipient)], at)._replace(position=number)
        for number in (1, 2, 3)
    ]
    outcomes: list[Outcome] = []
    worker.run([*messages, None], Opener([recipient]), "test", outcomes.append)
    assert worker.position("test") == 3
    assert sum(outcome.new for outcome in outcomes) == 3


def test_long_stays_do_not_bend_the_mean(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    at = int(noon.timestamp())
    record: Interaction = visit(at, dwell_ms=86_400_000)
    _take(Opener([recipient]), device.message([device.sealed(1, record, recipient)], at))
    sums = cube.decode(bytes(Cube.objects.get(grain=Grain.DAY).cells))
    assert next(iter(sums.values()))[1] == cube.MAX_STAY_DS


def test_roll_ups_can_be_made_again_from_the_interactions(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    opener = Opener([recipient])
    for number in range(12):
        at = int((noon + timedelta(hours=5 * number)).timestamp())
        dwell = 7_200_000 if number == 3 else 8_000
        envelope = device.sealed(number, visit(at, dwell_ms=dwell), recipient)
        _take(opener, device.message([envelope], at))
    rows = Cube.objects.order_by("grain", "day").values_list("grain", "day", "cells")
    before = [(grain, day, bytes(cells)) for grain, day, cells in rows]
    Cube.objects.filter(grain=Grain.DAY).delete()
    Cube.objects.filter(grain=Grain.MONTH).update(cells=b"")
    call_command("rebuild", stdout=StringIO())
    assert [(grain, day, bytes(cells)) for grain, day, cells in rows.all()] == before


def test_roll_ups_of_forgotten_interactions_stay(
    device: Device, recipient: PrivateKey, site: Site, noon: datetime
) -> None:
    put(site, date(2026, 4, 30), women=5)
    at = int(noon.timestamp())
    _take(Opener([recipient]), device.message([device.sealed(1, visit(at), recipient)], at))
    before = set(Cube.objects.values_list("grain", "day"))
    call_command("rebuild", stdout=StringIO())
    assert set(Cube.objects.values_list("grain", "day")) == before
    assert _visitors(site, Grain.MONTH) == 6
