"""The health record's figures: what the machine's files say, and totals over replaced processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from firmware import clock
from firmware.health import Health, temperatures_c, throttled_percent
from firmware.messages import SelfTested, UplinkHealth
from firmware.record import HealthBody


def record(health: Health) -> HealthBody:
    body = health.record(waiting=3, delivered=2, dropped=1, paused=True, pids={})
    return msgspec.convert(body, HealthBody)  # raises when it cannot be sealed


def zone(folder: Path, number: int, name: str, temperature: str) -> None:
    there = folder / f"thermal_zone{number}"
    there.mkdir()
    (there / "type").write_text(f"{name}\n")
    (there / "temp").write_text(f"{temperature}\n")


def test_each_zone_has_its_temperature_and_a_broken_sensor_none(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "51250")
    zone(tmp_path, 1, "gpu-thermal", "48000")
    zone(tmp_path, 2, "cpu-thermal", "53999")
    zone(tmp_path, 3, "wifi", "nonsense")
    assert temperatures_c(tmp_path) == {"cpu-thermal": 53, "gpu-thermal": 48}


def test_a_machine_of_many_zones_keeps_a_record_that_can_be_sealed(tmp_path: Path) -> None:
    for number in range(40):
        zone(tmp_path, number, f"{number:02d}" + "x" * 90, "40000")
    found = temperatures_c(tmp_path)
    assert len(found) == 32
    assert msgspec.convert({"temperatures_c": found}, HealthBody)


def test_the_core_that_is_held_back_most_counts(tmp_path: Path) -> None:
    for number, now in enumerate((1_500_000, 900_000)):
        policy = tmp_path / f"policy{number}"
        policy.mkdir()
        (policy / "scaling_max_freq").write_text(f"{now}\n")
        (policy / "cpuinfo_max_freq").write_text("1500000\n")
    assert throttled_percent(tmp_path) == 40


def test_totals_of_the_uplink_go_on_when_it_is_replaced() -> None:
    health = Health()
    first = UplinkHealth(sent_messages=5, sent_bytes=500, connections=3, last_fault="stalled")
    health.uplink_said(first)
    health.uplink_said(first)  # said twice, counted once
    health.uplink_replaced()
    health.uplink_said(UplinkHealth(sent_messages=1, sent_bytes=70, connections=1))
    body = record(health)
    assert (body["sent_messages"], body["sent_bytes"], body["reconnects"]) == (6, 570, 3)
    assert body["uplink_fault"] == "stalled"  # what ended the one before


def test_the_clock_s_state_comes_from_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    off = clock.Discipline(synchronised=True, offset_us=-1500, error_ms=12)
    monkeypatch.setattr(clock, "discipline", lambda: off)
    body = record(Health())
    assert body["clock_synchronised"] is clock.synchronised() is True
    assert (body["clock_offset_us"], body["clock_error_ms"]) == (-1500, 12)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0001, clock.Discipline(synchronised=True, offset_us=2_000_000, error_ms=3)),
        (0x2001, clock.Discipline(synchronised=True, offset_us=2000, error_ms=3)),  # STA_NANO
        (0x2040, clock.Discipline(synchronised=False, offset_us=2000, error_ms=3)),
    ],
)
def test_nanoseconds_and_microseconds_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: clock.Discipline
) -> None:
    def adjtimex(buffer: list[int]) -> int:
        assert buffer[0] == 0  # it is asked, never set
        buffer[1], buffer[3], buffer[5] = 2_000_000, 3_000, status
        return 0

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: SimpleNamespace(adjtimex=adjtimex))
    assert clock.discipline() == expected


def test_where_the_kernel_may_not_be_asked_the_time_service_s_mark_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refused = SimpleNamespace(adjtimex=lambda _: -1)
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: refused)
    monkeypatch.setattr(clock, "_TIMESYNCD", tmp_path / "synchronized")
    assert not clock.synchronised()
    (tmp_path / "synchronized").touch()
    assert clock.synchronised()


@pytest.mark.parametrize(
    ("tested", "figure"),
    [
        (None, ("none", 0, 0)),
        (SelfTested(True, 0, 27, 400), ("passed", 0, 27)),
        (SelfTested(False, 3, 27, 400), ("failed", 3, 27)),
        (SelfTested(False, 0, 12, 400), ("failed", 0, 12)),  # the search did not see enough
    ],
)
def test_the_selftest_s_figure_is_told(
    tested: SelfTested | None, figure: tuple[str, int, int]
) -> None:
    health = Health()
    if tested:
        health.note(tested)
    body = record(health)
    told = (body["selftest"], body["selftest_hits"], body["selftest_controls"])
    assert told == figure
    at_utc_s = body["selftest_at_utc_s"]
    assert isinstance(at_utc_s, int) and (at_utc_s > 1_700_000_000) is bool(tested)
