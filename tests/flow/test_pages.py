"""Exports, schedules, fleet and notice."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import tomllib
from django.core import mail
from django.core.management import call_command
from django.test import Client
from pypdf import PdfReader

from firmware.errors import UplinkError
from firmware.health import Health
from firmware.messages import SelfTested
from flow import charts
from flow.figures.overview import Point
from flow.figures.periods import Period
from flow.fleet import condition, said
from flow.models import Report, Role, Schedule, Sensor, Site, User
from flow.notice import facts, words
from flow.web.reports import next_day
from tests.flow.visits import put


@pytest.fixture
def boss(site: Site, person: Callable[..., User], browse: Callable[[User], Client]) -> Client:
    for back in range(14):
        put(site, date.today() - timedelta(back), women=100, men=50)
    return browse(person(Role.ADMINISTRATOR))


def export(client: Client, form: str, **query: str) -> bytes:
    answer = client.get(f"/reports/export.{form}", {"period": "7d", **query})
    assert "attachment" in answer.headers["Content-Disposition"]
    return bytes(answer.content)


def test_the_three_forms_of_a_report_say_the_same(boss: Client, site: Site) -> None:
    rows = list(csv.reader(io.StringIO(export(boss, "csv").decode("utf-8-sig"))))
    assert rows[0][:2] == ["Site", "Visitors"]
    assert rows[1][:2] == ["Oslo", "1050"]
    sheet = openpyxl.load_workbook(io.BytesIO(export(boss, "xlsx"))).active
    assert [sheet["A2"].value, sheet["B2"].value] == ["Oslo", 1050]
    assert len(sheet._charts) == 1
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(export(boss, "pdf"))).pages)
    assert "Oslo" in text and "1,050" in text


def test_a_site_named_like_a_formula_stays_a_word(boss: Client, site: Site) -> None:
    Site.objects.update(name='=HYPERLINK("http://evil.example")')
    rows = list(csv.reader(io.StringIO(export(boss, "csv").decode("utf-8-sig"))))
    assert rows[1][0].startswith("'=")
    book = openpyxl.load_workbook(io.BytesIO(export(boss, "xlsx")))
    assert book.active["A2"].data_type == "s"


def test_words_of_a_filter_come_from_several_boxes(boss: Client) -> None:
    page = boss.get("/reports?period=7d&age=25-34&age=35-44&split=gender").content.decode()
    assert "Only age: 25-34, 35-44" in page


def test_reports_tell_what_is_protected_and_missing(boss: Client, site: Site) -> None:
    page = boss.get("/reports?period=7d&split=expression").content.decode()
    assert "Groups of fewer than 5" in page and "known error" in page
    assert ">few<" in page


@pytest.mark.parametrize(
    ("every", "day", "expected"),
    [
        ("day", "2026-02-28", "2026-03-01"),
        ("week", "2026-05-18", "2026-05-25"),  # a Monday: the next one
        ("week", "2026-05-20", "2026-05-25"),
        ("month", "2026-12-31", "2027-01-01"),
        ("month", "2026-01-01", "2026-02-01"),
    ],
)
def test_when_a_schedule_is_due_next(every: str, day: str, expected: str) -> None:
    assert next_day(every, date.fromisoformat(day)) == date.fromisoformat(expected)


def test_due_reports_go_out_once_with_each_persons_own_sites(
    boss: Client, site: Site, other_site: Site, person: Callable[..., User]
) -> None:
    put(other_site, date.today(), women=400)
    owner = User.objects.get(role=Role.ADMINISTRATOR)
    viewer, outside = person(Role.VIEWER, site), person(Role.VIEWER)
    report = Report.objects.create(
        customer=owner.customer, owner=owner, name="Week", query="period=7d"
    )
    schedule = Schedule.objects.create(report=report, every="day", form="csv",
                                       next_on=date.today())  # fmt: skip
    schedule.recipients.set([owner, viewer, outside])
    call_command("send_reports", verbosity=0)
    call_command("send_reports", verbosity=0)
    assert sorted(m.to[0] for m in mail.outbox) == sorted([owner.email, viewer.email])
    sent = {m.to[0]: m.attachments[0][1] for m in mail.outbox}
    text = {to: c.decode() if isinstance(c, bytes) else c for to, c in sent.items()}
    assert "Bergen" in text[owner.email] and "Bergen" not in text[viewer.email]


HEALTHY = {"selftest": "passed", "frames_per_s_x10": 120, "temperature_c": 50, "waiting": 0,
           "dropped": 0, "clock_synchronised": True, "certificate_days": 90}  # fmt: skip
NOW = datetime(2026, 5, 20, 11, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("change", "title", "severity"),
    [
        ({}, None, 0),
        ({"selftest": "failed"}, "Wipe self-test failed", 3),
        ({"guarantees_missing": ["memory_locked"]}, "Wipe self-test failed", 3),
        ({"frames_per_s_x10": 0}, "Camera dark or gone", 3),
        ({"frames_per_s_x10": 30}, "Low frame rate", 2),
        ({"view_blocked": True}, "View blocked", 2),
        ({"temperature_c": 85}, "Too hot", 2),
        ({"temperature_c": None, "throttled_percent": 30}, "Too hot", 2),
        ({"waiting": 5000}, "Queue growing", 2),
        ({"dropped": 1}, "Queue growing", 2),
        ({"clock_synchronised": False}, "Clock not synchronised", 1),
        ({"certificate_days": 3}, "Certificate ends soon", 1),
    ],
)
def test_alarms(change: dict[str, Any], title: str | None, severity: int, site: Site) -> None:
    sensor = Sensor(device="d", site=site, health={**HEALTHY, **change}, last_seen=NOW)
    state = condition(sensor, NOW)
    assert [alarm.title for alarm in state.alarms] == ([title] if title else [])
    assert state.severity == severity


def test_a_failed_selftest_is_an_alarm_as_the_device_says_it(site: Site) -> None:
    """The record that the firmware makes, not one that was written down here."""
    device = Health()
    said = {}
    for passed, hits in ((True, 0), (False, 3)):
        device.note(SelfTested(passed, hits, 27, 400))
        health = device.record(waiting=0, delivered=0, dropped=0, paused=False, pids={})
        health |= {"frames_per_s_x10": 120, "clock_synchronised": True, "throttled_percent": 0}
        sensor = Sensor(device="d", site=site, health=health, last_seen=NOW)
        said[passed] = [alarm.title for alarm in condition(sensor, NOW).alarms]
    assert said == {True: [], False: ["Wipe self-test failed"]}


def test_a_silent_sensor_is_offline_and_a_retired_one_is_not(site: Site) -> None:
    seen = NOW - timedelta(minutes=21)
    sensor = Sensor(device="d", site=site, health=HEALTHY, last_seen=seen)
    assert [alarm.title for alarm in condition(sensor, NOW).alarms] == ["Offline"]
    sensor.retired = True
    assert not condition(sensor, NOW).alarms
    never = Sensor(device="d", site=site)
    assert [alarm.title for alarm in condition(never, NOW).alarms] == ["Never seen"]


def test_a_refused_update_is_an_alarm(site: Site) -> None:
    said = {"update": {"state": "refused", "version": "1.4.3", "percent": 0, "error": "signature"}}
    sensor = Sensor(device="d", site=site, health=HEALTHY, last_seen=NOW, reported=said)
    (alarm,) = condition(sensor, NOW).alarms
    assert (alarm.title, alarm.severity) == ("Update refused", 2)
    assert "refused 1.4.3: signature" in alarm.advice
    sensor.reported = {"update": {"state": "committed", "version": "1.4.3"}}
    assert not condition(sensor, NOW).alarms and sensor.update == "committed 1.4.3"


def test_health_is_shown_in_words(boss: Client, site: Site) -> None:
    health = {"frames_per_s_x10": 121, "clock_synchronised": False, "guarantees_missing": [],
              "resident_kb": {"vision": 5}, "new_field": 3, "uptime_s": 7200}  # fmt: skip
    assert dict(said(health)) == {
        "Frames a second": "12.1",
        "Clock synchronised": "no",
        "Guarantees that do not hold": "none",
        "Running for": "2.0 hours",
        "resident kb, vision": "5",
        "new field": "3",
    }
    Sensor.objects.create(
        device="d", name="d", site=site, certificates="", health={**health, "selftest": "passed"},
        reported={
            "image": "9.8.7",
            "update": {"state": "downloading", "version": "1.4.3", "percent": 40},
        },
        last_seen=datetime.now(timezone.utc),
    )  # fmt: skip
    fleet = boss.get("/sensors").content.decode()
    assert (
        "downloading 1.4.3, 40 %" in fleet
        and "9.8.7" in fleet
        and "passed" in fleet
        and "just now" in fleet
    )
    assert "Frames a second" in boss.get("/sensors/d").content.decode()


def test_a_reports_chart_shows_what_its_table_says(boss: Client) -> None:
    drawn = charts.columns_chart(
        [("<a>", 50.0, 100.0), ("b" * 60, None, None)], charts.NARROW, title="t"
    )
    assert drawn.count('class="column"') == 1 and drawn.count('class="before"') == 1
    base, top = 220 - 26, 12
    assert f'height="{(base - top) / 2:.1f}"' in drawn  # half of the axis, which ends at 100
    assert "<a>" not in drawn and "b…" in drawn
    page = boss.get("/reports?period=7d&split=time").content.decode()
    assert page.count('class="column"') == 14  # seven days, for wide and for narrow screens


def test_settings_go_to_the_twin_and_only_those(
    boss: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr("flow.twin.patch", lambda device, patch: sent.append((device, patch)))
    Sensor.objects.create(device="d", name="d", site=site, certificates="")
    form = {"twin": "1", "score": "0.6", "every_s": "60", "hub.host": "evil.example"}
    assert boss.post("/sensors/d", form).status_code == 302
    assert sent == [("d", {"detection": {"score": 0.6}, "health": {"every_s": 60.0}})]


def test_a_hub_that_refuses_is_told(
    boss: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UplinkError("the hub is away", remedy="try later")

    monkeypatch.setattr("flow.twin.patch", refuse)
    Sensor.objects.create(device="d", name="d", site=site, certificates="")
    answer = boss.post("/sensors/d", {"twin": "1", "score": "0.6"})
    assert b"the hub is away" in answer.content
    assert Sensor.objects.get(device="d").desired == {}


@pytest.mark.parametrize("pem", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END"])
def test_a_bad_certificate_adds_no_sensor(pem: str, boss: Client, site: Site) -> None:
    answer = boss.post("/sensors/add", {"name": "x", "site": site.pk, "certificates": pem})
    assert answer.status_code == 200
    assert not Sensor.objects.exists()


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_the_notice_says_what_runs(language: str, site: Site, client: Client) -> None:
    said = {"capabilities": {"mode": "attributes", "context": "workplace"}}
    sensor = Sensor.objects.create(
        device="d", name="d", site=site, certificates="", reported=said, model_set="0badcafe",
        health={
            "firmware": "1.4.2", "selftest": "passed", "selftest_at_utc_s": int(NOW.timestamp())
        },
    )  # fmt: skip
    text = words.words(language)
    page = client.get(f"/notice/{site.public}/{language}").content.decode()
    assert f'lang="{language}"' in page and text["title"] in page
    assert text["age"] in page and text["expression"] not in page
    assert "1.4.2" in page and "0badcafe" in page and "2026-05-20" in page
    sensor.reported = {"capabilities": {"mode": "count"}}
    sensor.health = {"selftest": "failed"}
    sensor.save()
    page = client.get(f"/notice/{site.public}/{language}").content.decode()
    assert text["gender"] not in page and text["proof_none"] in page
    sign = client.get(f"/notice/{site.public}/{language}/sign").content.decode()
    assert "<svg" in sign and site.public in sign and text["never_store"] in sign


def test_a_sensor_that_says_nothing_is_taken_to_do_everything(site: Site) -> None:
    Sensor.objects.create(device="d", name="d", site=site, certificates="")
    assert facts.of(site).attributes == ("gender", "age", "expression")
    assert facts.of(site).proven is None


def test_every_language_says_everything() -> None:
    folder = Path(words.__file__).parent
    keys = {
        name: set(tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8")))
        for name in words.LANGUAGES
    }
    assert all(found == keys["en"] for found in keys.values())


def test_the_notice_follows_the_browsers_language(site: Site, client: Client) -> None:
    page = client.get(f"/notice/{site.public}/", headers={"Accept-Language": "sv-SE,sv;q=0.9"})
    assert 'lang="sv"' in page.content.decode()
    assert client.get(f"/notice/{site.public}/xx").status_code == 404
    assert client.get("/notice/nowhere/en").status_code == 404


def test_a_line_never_runs_through_what_is_not_known() -> None:
    day = Period(date(2026, 5, 1), date(2026, 5, 1))
    values = [1.0, 2.0, None, 4.0, None, 6.0, 7.0]
    points = [
        Point(day.moved(at), -1, f"<day {at}>", value, None, 0.5 * (at == 3), at == 6)
        for at, value in enumerate(values)
    ]
    drawn = charts.line_chart(points, charts.WIDE, [""] * len(points), title='"&<')
    assert drawn.count('class="line"') == 3
    assert drawn.count('class="dot"') == 2  # the lone fourth, and the sixth before a growing one
    assert drawn.count('class="open"') == 1
    assert drawn.count('class="dark"') == 1
    assert "<day" not in drawn and re.search(r'aria-label="&quot;&amp;&lt;"', drawn)


@pytest.mark.parametrize(("top", "nice"), [(0, 4), (1, 1), (3, 4), (7, 8), (99, 100), (101, 200)])
def test_the_axis_ends_on_a_round_number(top: float, nice: float) -> None:
    assert charts.nice_top(top) == pytest.approx(nice)


def test_old_things_are_forgotten(boss: Client, site: Site) -> None:
    call_command("forget", verbosity=0)
