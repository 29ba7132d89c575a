"""From a JUnit file to the figures, the verdict and the plots that go with a shipment."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from hil.rigs import page, plots, results, soak
from hil.rigs.parts import Running

JUNIT = """<testsuites><testsuite>
<testcase name="test_boot_to_first_record" time="9.96">
 <properties><property name="boot_to_first_record_s" value="8.5"/></properties></testcase>
<testcase name="test_power_is_cut_in_mid_interaction" time="70">
 <properties><property name="power_cuts" value="5"/><property name="roots_identical" value="4"/>
 </properties>{power}</testcase>
<testcase name="test_update_and_rollback" time="0">
 <skipped message="not applicable: there is no &lt;RAUC&gt; here"/></testcase>
</testsuite></testsuites>"""
WRITTEN = {
    "commit": "c0ffee",
    "date": "2026-01-01",
    "machine": {"cpu": "a <fast> one", "cores": 2, "memory_gb": 24, "kernel": "6.1"},
}


def made(tmp_path: Path, power: str = "") -> results.Results:
    junit = tmp_path / "hil.xml"
    junit.write_text(JUNIT.format(power=power), "utf-8")
    said = [
        results.Said("boot", 100.0 + at, {"waiting": at, "resident_kb": {"vision": 170_000 + at}})
        for at in range(4)
    ]
    return results.Results("process", "processes", results.read(junit), said, [])


def test_what_a_rig_cannot_do_is_never_passed(tmp_path: Path) -> None:
    figures = made(tmp_path).figures()
    assert figures["scenarios"] == [
        {"name": "test_boot_to_first_record", "passed": True, "seconds": 10.0},
        {"name": "test_power_is_cut_in_mid_interaction", "passed": True, "seconds": 70.0},
    ]
    assert figures["not_applicable"] == [
        {"name": "test_update_and_rollback", "why": "there is no <RAUC> here"}
    ]
    assert (figures["power_cuts"], figures["roots_identical"]) == (5, 4)
    assert figures["boot_to_first_record_s"] == 8.5
    assert figures["soak"] is None and figures["numbers_reused"] is None


def test_two_rigs_at_a_time_are_drawn_one_after_another() -> None:
    first = [results.Said("boot", 100.0, {}), results.Said("boot", 160.0, {})]
    beside = [results.Said("power", 90.0, {}), results.Said("power", 95.0, {})]
    found = results.one_after_another([first, [], beside])
    assert [(each.scenario, each.at_s) for each in found] == [
        ("boot", 100.0),
        ("boot", 160.0),
        ("power", 160.0),
        ("power", 165.0),
    ]


@pytest.mark.parametrize("kind", ["failure", "error"])
def test_one_failure_stops_a_shipment(tmp_path: Path, kind: str) -> None:
    found = made(tmp_path, f'<{kind} message="AssertionError: a number is used again"/>')
    assert not found.passed
    shown = page.page(found, WRITTEN | found.figures())
    assert "Not to be shipped: power is cut in mid interaction." in shown
    assert "a number is used again" in shown


def test_a_run_that_showed_nothing_is_no_pass() -> None:
    skipped = results.Scenario("test_soak", "not applicable", 0.0, "no")
    assert not results.Results("x", "", [skipped], [], []).passed
    assert not results.Results("x", "", [], [], []).passed


def test_page_stands_by_itself_and_lets_no_word_through_as_markup(tmp_path: Path) -> None:
    found = made(tmp_path)
    shown = page.page(found, WRITTEN | found.figures())
    assert "Passed: 2 scenarios on this rig, none failed." in shown
    assert "Not shown on this rig, and to be shown on another: update and rollback." in shown
    assert "a &lt;fast&gt; one" in shown and "no &lt;RAUC&gt; here" in shown
    assert "<script" not in shown and "http" not in shown.replace("http-equiv", "")
    assert "Temperature: this rig has none to show." in shown
    assert shown.count("<svg") == 2, "memory and queue; no temperature and no latency were said"


def test_lines_are_drawn_to_scale() -> None:
    chart = plots.lines({"a": [(0, 0), (10, 100)], "b": [(0, 50)]}, title="t", unit="u")
    figure = ElementTree.fromstring(chart)  # noqa: S314 - drawn here
    path = figure.findall(".//path")[0].get("d", "")
    (x0, y0), (x1, y1) = (map(float, pair.split()) for pair in path.lstrip("M").split(" L"))
    assert x1 - x0 == 720 - 60 - 96 and y0 - y1 == 200 - 14 - 30
    assert [each.text for each in figure.iter("text")][:5] == ["0", "25", "50", "75", "100"]


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        ([100.0 + 2 * n for n in range(20)], True),
        ([100.0 + (-1) ** n for n in range(20)], False),
        ([100.0 - 3 * n for n in range(20)], False),
    ],
)
def test_growth_is_told_from_noise(values: list[float], *, grows: bool) -> None:
    found = soak.slope([(500.0 * n, value) for n, value in enumerate(values)])
    assert (found.low > 0) is grows
    assert found.low <= found.slope <= found.high
    expected = np.polyfit(0.5 * np.arange(20), values, 1)[0]
    assert found.slope == pytest.approx(expected, abs=1e-3)


def test_pages_that_are_touched_once_are_no_growth_and_a_few_bytes_each_time_are() -> None:
    once = [0.0] * 4 + [12.0] * 16
    found = soak.slope([(500.0 * n, kb) for n, kb in enumerate(once)], known_to=4.0)
    assert found.slope > 0 > found.low
    leak = [n * 500 * 40 / 1024 for n in range(20)]  # 40 bytes of each interaction
    found = soak.slope(
        [(500.0 * n, a + b) for n, (a, b) in enumerate(zip(once, leak, strict=True))]
    )
    assert found.low > 30


def test_a_soak_leaves_out_its_warm_up_and_notices_a_file_more() -> None:
    def sample(count: int) -> soak.Sample:
        kb = 50_000 if count <= soak.WARM else 60_000
        running = Running("uplink", kb, 9 if count < soak.WARM + 4900 else 10, 8)
        return soak.Sample(count, count / 10, (running,), 20.0 + count / 1000, 15.0, count % 3)

    figures = soak.figures([sample(count) for count in range(10, soak.WARM + 5001, 10)])
    slope = figures["rss_slope_kb_per_1000"]["uplink"]
    assert slope["slope"] == 0 and slope["high"] == -slope["low"] == pytest.approx(1.3, abs=0.1)
    assert (figures["files_at_first"], figures["files"]) == ({"uplink": 9}, {"uplink": 10})
    assert figures["frame_ms_p95"]["low"] == 1.0, "what a busier machine does to a frame's time"
    assert figures["frame_cpu_ms_p95"]["slope"] == 0
    assert json.dumps(soak.plain(sample(10)))
