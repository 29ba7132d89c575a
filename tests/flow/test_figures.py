"""Figures say what the records say, and where they do not, the page says so."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest

from flow.figures import measure, model_error, periods, quality
from flow.figures.overview import Overview, Panel, Row, overview
from flow.figures.periods import Period
from flow.figures.question import Question, ask
from flow.figures.report import choices, report
from flow.models import Sensor, Site
from flow.reports.columns import notes
from tests.flow.visits import presence, put

WEDNESDAY = date(2026, 5, 20)
NOW = datetime(2026, 5, 20, 11, 30, tzinfo=timezone.utc)  # 13:30 in Oslo


def asked(sites: list[Site], **query: str) -> Question:
    return ask(query, sites, now=NOW)


def panel(page: Overview, name: str) -> Panel:
    return next(panel for panel in page.panels if panel.name == name)


def row(page: Overview, name: str, word: str) -> Row:
    return next(row for row in panel(page, name).rows if row.word == word)


@pytest.mark.parametrize(
    ("name", "how", "first", "last", "other"),
    [
        ("today", "previous", "2026-05-20", "2026-05-20", ("2026-05-13", "2026-05-13")),
        ("7d", "previous", "2026-05-14", "2026-05-20", ("2026-05-07", "2026-05-13")),
        # 28 days end on a Wednesday, and so does what they are compared with
        ("28d", "year", "2026-04-23", "2026-05-20", ("2025-04-24", "2025-05-21")),
        ("last-month", "previous", "2026-04-01", "2026-04-30", ("2026-03-01", "2026-03-31")),
        ("last-month", "year", "2026-04-01", "2026-04-30", ("2025-04-01", "2025-04-30")),
        ("month", "previous", "2026-05-01", "2026-05-20", ("2026-04-10", "2026-04-29")),
        ("12mo", "previous", "2025-06-01", "2026-05-20", ("2024-06-01", "2025-05-20")),
        ("year", "none", "2026-01-01", "2026-05-20", None),
    ],
)
def test_periods_and_what_they_are_compared_with(
    name: str, how: str, first: str, last: str, other: tuple[str, str] | None
) -> None:
    query = {"period": name, "compare": how}
    _, period, _, compared = periods.from_query(query, WEDNESDAY)
    assert period == Period(date.fromisoformat(first), date.fromisoformat(last))
    expected = Period(*map(date.fromisoformat, other)) if other else None
    assert compared == expected
    if compared and not period.whole_months and period.step != "month":
        assert compared.first.weekday() == period.first.weekday()


@pytest.mark.parametrize(
    "query",
    [
        {"period": "custom", "from": "2026-13-45", "to": "x"},
        {"period": "nonsense", "compare": "nonsense"},
        {"hour": "99,-1,abc", "gender": "'; DROP TABLE", "site": "../..", "metric": "\0"},
        {"period": "custom", "from": "0001-01-01", "to": "9999-12-31"},
        {"period": "custom", "from": "2026-05-20", "to": "2026-05-01"},
    ],
)
def test_a_senseless_address_still_opens(query: dict[str, str], site: Site) -> None:
    question = asked([site], **query)
    assert question.sites == (site,)
    assert 1 <= question.period.days <= periods.MAX_DAYS
    overview(question)


def test_today_is_compared_with_the_hours_that_are_over(site: Site) -> None:
    put(site, WEDNESDAY, 10, women=30, men=30)
    put(site, WEDNESDAY, 13, women=5, men=2)  # the present hour
    put(site, WEDNESDAY - timedelta(7), 10, women=25, men=25)
    put(site, WEDNESDAY - timedelta(7), 13, women=50, men=50)
    put(site, WEDNESDAY - timedelta(7), 18, women=50, men=50)
    page = overview(asked([site]))
    visitors, per_hour, *_ = page.tiles
    assert visitors.value == 67
    assert visitors.change_percent == pytest.approx(20)  # 60 against 50
    assert per_hour.value == pytest.approx(60 / 5)  # open since 8, five hours are over
    assert page.this_hour == 7


def test_the_first_visitor_is_on_the_page_at_once(site: Site) -> None:
    put(site, WEDNESDAY, 13, women=1)  # in the present hour, and nobody before
    visitors, _, stay, looking = overview(asked([site])).tiles
    assert (visitors.value, stay.value) == (1, 10)
    assert looking.value == pytest.approx(40)
    assert visitors.change_percent is None


def test_filters_stack_and_keep_the_other_values_in_sight(site: Site) -> None:
    for back in range(7):
        put(site, WEDNESDAY - timedelta(back), 10, women=200, men=100)
    everybody = overview(asked([site], period="7d"))
    assert everybody.tiles[0].value == 2100
    women = overview(asked([site], period="7d", gender="female"))
    assert women.tiles[0].value == pytest.approx(1400, abs=40)
    assert row(women, "gender", "male").visitors == pytest.approx(700, abs=40)
    assert row(women, "gender", "female").chosen
    nobody = overview(asked([site], period="7d", gender="female", age="35-44"))
    assert nobody.tiles[0].value is None  # an empty group looks like a small one
    noon = overview(asked([site], period="7d", hour="12"))
    assert noon.tiles[0].value == 0


def test_the_same_group_has_the_same_figure_wherever_it_stands(site: Site) -> None:
    for back in range(28):
        put(site, WEDNESDAY - timedelta(back), 10, women=20, men=10)
    whole = row(overview(asked([site], period="28d")), "gender", "female").visitors
    filtered = overview(asked([site], period="28d", gender="female")).tiles[0].value
    words = ",".join(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
    redundant = overview(asked([site], period="28d", gender="female", weekday=words)).tiles[0]
    table = report(asked([site], period="28d"), "gender", "none")
    assert whole == filtered == redundant.value
    assert whole == next(line.visitors for line in table.lines if line.label == "Women")


@pytest.mark.parametrize("days", [1, 2, 31, 32, 92, 93, 190, 191, 366, 800])
def test_every_grain_gives_the_same_total(site: Site, days: int) -> None:
    first = WEDNESDAY - timedelta(days - 1)
    for back in range(0, days + 40, 3):
        put(site, WEDNESDAY - timedelta(back), 9 + back % 8, women=2, men=1)
    expected = 3 * len(range(0, days, 3))
    query = {"period": "custom", "from": first.isoformat(), "to": WEDNESDAY.isoformat()}
    question = asked([site], compare="none", **query)
    page = overview(question)
    assert page.tiles[0].value == expected
    assert sum(point.value or 0 for point in page.points) == expected
    hours = [p for p in page.panels if p.name == "hour"]
    assert sum(r.visitors for p in hours for r in p.rows) in (expected, 0)
    for split in ("time", "site", "hour", "weekday"):
        table = report(question, split, "none")
        assert sum(line.visitors for line in table.lines) == table.total.visitors == expected
    weekday = asked([site], compare="none", weekday="wed", **query)
    wednesdays = sum(3 for back in range(0, days, 3) if back % 7 == 0)
    assert overview(weekday).tiles[0].value == wednesdays


@pytest.mark.parametrize("days", [30, 400])
def test_weekdays_are_those_of_the_visits_however_long_the_period(site: Site, days: int) -> None:
    for back in range(0, days, 7):
        put(site, WEDNESDAY - timedelta(back), women=3)
    first = WEDNESDAY - timedelta(days)
    query = {"period": "custom", "from": first.isoformat(), "to": WEDNESDAY.isoformat()}
    table = report(asked([site], compare="none", **query), "weekday", "none")
    expected = 3 * len(range(0, days, 7))
    assert {line.label: line.visitors for line in table.lines if line.visitors} == {
        "Wednesday": expected
    }


@pytest.mark.parametrize("days", [30, 60, 150])
def test_one_hours_visits_stand_at_their_days(site: Site, days: int) -> None:
    """With a filter on the hour, whose sums over months are at hand, too."""
    visits = [WEDNESDAY - timedelta(back) for back in range(0, days, 7)]
    for day in visits:
        put(site, day, 16, women=3)
    first = WEDNESDAY - timedelta(days - 1)
    query = {"period": "custom", "from": first.isoformat(), "to": WEDNESDAY.isoformat()}
    question = asked([site], compare="none", hour="16", **query)
    page = overview(question)
    for point in page.points:
        inside = [day for day in visits if point.period.first <= day <= point.period.last]
        assert point.value == 3 * len(inside)
    weekdays = next(panel for panel in page.panels if panel.name == "weekday").rows
    assert [(row.word, row.visitors) for row in weekdays] == [("wed", 3 * len(visits))]
    lines = report(question, "time", "none").lines
    assert [line.visitors for line in lines] == [point.value for point in page.points]


def test_the_month_that_is_not_over_counts_up_to_today(site: Site) -> None:
    """The monthly row of the present month is read whole; nothing may stand in it that the days
    do not have."""
    for back in range(0, 400, 9):
        put(site, WEDNESDAY - timedelta(back), 10, women=2)
    page = overview(asked([site], period="12mo", compare="year"))
    days = [WEDNESDAY - timedelta(back) for back in range(0, 400, 9)]
    assert page.tiles[0].value == 2 * sum(day >= date(2025, 6, 1) for day in days)
    before = [day for day in days if date(2024, 6, 1) <= day <= date(2025, 5, 20)]
    assert page.tiles[0].before == 2 * len(before)


def test_what_was_not_counted_is_no_comparison(site: Site, other_site: Site) -> None:
    """A first year would otherwise show a growth that is only the sensor's arrival."""
    for at, one in enumerate((site, other_site)):
        sensor = Sensor.objects.create(device=f"d{at}", name="d", site=one, certificates="")
        presence(sensor, WEDNESDAY - timedelta(10), records=1, first=1, last=1)
    for back in range(11):
        put(site, WEDNESDAY - timedelta(back), 9, women=30)
    question = asked([site, other_site], period="7d")
    page = overview(question)
    assert not page.whole and page.beginning.first == WEDNESDAY - timedelta(10)
    assert all(tile.change_percent is None for tile in page.tiles)
    assert [point.before is None for point in page.points] == [True] * 3 + [False] * 4
    table = report(question, "site", "none")
    assert table.total.change_percent is None and table.total.before == 120
    assert any("no whole period" in note for note in notes(table))

    presence(Sensor.objects.get(device="d0"), WEDNESDAY - timedelta(20), records=1, first=0, last=0)
    page = overview(question)
    assert page.whole and page.tiles[0].change_percent == pytest.approx(75)
    assert page.beginning.later == ((other_site, WEDNESDAY - timedelta(10)),)
    assert any("Bergen counts since" in note for note in notes(report(question, "site", "none")))


def test_a_silent_sensor_stands_beside_its_sites_figure(site: Site, other_site: Site) -> None:
    for at, (one, alive) in enumerate(((site, (1 << 24) - 1), (other_site, 0))):
        sensor = Sensor.objects.create(device=f"d{at}", name="d", site=one, certificates="")
        presence(sensor, WEDNESDAY, records=1, first=1, last=1, alive=alive)
    page = overview(asked([site, other_site]))
    assert row(page, "site", "oslo").dark_percent == 0
    assert row(page, "site", "bergen").dark_percent == 100


def test_a_report_ranks_sites_by_what_is_asked(site: Site, other_site: Site) -> None:
    Site.objects.filter(pk=site.pk).update(floor_m2=1000)
    Site.objects.filter(pk=other_site.pk).update(floor_m2=10)
    put(site, WEDNESDAY, women=300)
    put(other_site, WEDNESDAY, women=100)
    sites = list(Site.objects.order_by("pk"))
    plain = report(asked(sites), *choices({"split": "site"}))
    assert [line.label for line in plain.lines] == ["Oslo", "Bergen"]
    dense = report(asked(sites), *choices({"split": "site", "per": "m2"}))
    assert [(line.label, line.rate) for line in dense.lines] == [("Bergen", 10.0), ("Oslo", 0.3)]


def test_lost_numbers_and_silent_hours_are_counted(site: Site) -> None:
    sensor = Sensor.objects.create(device="d", name="d", site=site, certificates="")
    monday = WEDNESDAY - timedelta(2)
    presence(sensor, monday, records=10, first=1, last=10)
    presence(sensor, monday + timedelta(1), records=8, first=13, last=22, alive=0b1111 << 8)
    period = Period(monday, monday + timedelta(1))
    state = quality.Watch([site], period, NOW).quality()
    assert state.missing == 4  # 11 and 12 over the night, two more during the day
    assert state.open_hours == 24
    assert state.dark_hours == 8  # open 8 to 20, alive 8 to 12
    assert state.dark_share(Period(monday, monday)) == 0
    page = overview(asked([site], period="7d"))
    assert [point.dark > 0 for point in page.points[-3:]] == [False, True, True]


def test_a_day_without_any_word_from_a_sensor_is_dark(site: Site) -> None:
    sensor = Sensor.objects.create(device="d", name="d", site=site, certificates="")
    presence(sensor, WEDNESDAY - timedelta(3), records=1, first=1, last=1)
    presence(sensor, WEDNESDAY - timedelta(1), records=1, first=2, last=2)
    state = quality.Watch(
        [site], Period(WEDNESDAY - timedelta(3), WEDNESDAY - timedelta(1)), NOW
    ).quality()
    assert state.dark_hours == 12


@pytest.mark.parametrize("women", [0.5, 0.62, 0.9])
def test_corrected_shares_undo_the_known_error(women: float) -> None:
    table = model_error.tables()["gender"]
    confusion = np.array(table.counts, float)
    confusion /= confusion.sum(1, keepdims=True)
    observed = np.array([women, 1 - women]) @ confusion * 50_000
    found = model_error.shares(observed, table)
    assert found.corrected[0] == pytest.approx(women, abs=0.005)
    assert found.low[0] < women < found.high[0]


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    table = model_error.tables()["age"]
    confusion = np.array(table.counts, float)
    random = np.random.default_rng(1)
    truth = np.array([0.05, 0.15, 0.25, 0.2, 0.15, 0.12, 0.08])
    inside = []
    for _ in range(120):
        real = np.array([random.dirichlet(row + 0.5) for row in confusion])
        observed = random.multinomial(2_000, truth @ real).astype(float)
        found = model_error.shares(observed, table)
        inside.append((found.low <= truth) & (truth <= found.high))
    assert 0.9 <= np.mean(inside) <= 1.0


def test_no_visitors_give_no_shares(site: Site) -> None:
    page = overview(asked([site], period="28d"))
    assert page.tiles[0].value == 0
    assert panel(page, "gender").note
    assert all(math.isnan(r.dwell_s) for p in page.panels for r in p.rows)


def test_sites_in_other_time_zones_count_their_own_days(site: Site) -> None:
    Site.objects.filter(pk=site.pk).update(time_zone="Pacific/Auckland")
    question = asked([Site.objects.get()])
    assert question.period.first == WEDNESDAY  # 23:30 there, still the same day
    assert question.now.hour == 23


def test_the_normal_form_of_time_knows_equal_questions(site: Site) -> None:
    question = asked([site], period="custom", **{"from": "2026-05-18", "to": "2026-05-19"})
    redundant = asked(
        [site], period="custom", weekday="mon,tue,fri", **{"from": "2026-05-18", "to": "2026-05-19"}
    )
    same = [measure.time_form(q, q.period) for q in (question, redundant)]
    assert same[0] == same[1]
