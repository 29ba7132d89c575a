"""What a unit leaves the station with: its name, its label, its record."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
import segno

from firmware.errors import ConfigError
from hil.factory.__main__ import _names
from hil.factory.label import label
from hil.factory.unit import Unit

NOTICE = "https://flow.example/notice/k3vd"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("first", "count", "names"),
    [
        ("flow-000009", 2, ["flow-000009", "flow-000010"]),
        ("s7", 1, ["s7"]),
        ("flow-1.9", 1, ["flow-1.9"]),
    ],
)
def test_units_are_counted_from_the_first(first: str, count: int, names: list[str]) -> None:
    assert _names(first, count) == names


@pytest.mark.parametrize(
    ("first", "count"), [("flow-9", 2), ("flow", 1), ("Flow-01", 1), ("flow-01", 0)]
)
def test_names_that_cannot_be_counted_are_refused(first: str, count: int) -> None:
    with pytest.raises(ConfigError, match="cannot be counted"):
        _names(first, count)


def test_label_carries_the_notice_and_stays_inside_its_edges() -> None:
    drawn = ElementTree.fromstring(label("flow-<1>", NOTICE, "0.1.0"))  # noqa: S314 - ours
    texts = [each.text for each in drawn.iter(f"{SVG}text")]
    assert texts[0] == "flow-<1>" and "flow.example/notice/k3vd" in texts
    group = next(drawn.iter(f"{SVG}g"))
    scale = float(group.get("transform", "").rpartition("scale(")[2].rstrip(")"))
    modules, _ = segno.make(NOTICE, error="m").symbol_size(border=0)
    assert math.isclose(scale * modules, 25.0, abs_tol=0.01), "the code is 25 mm wide"
    path = next(group.iter(f"{SVG}path"))
    assert path.get("d") == _modules(NOTICE), "the code says something else"


def _modules(text: str) -> str:
    drawn = segno.make(text, error="m").svg_inline(border=0)
    found = ElementTree.fromstring(drawn).find("path")  # noqa: S314 - ours
    assert found is not None
    return str(found.get("d"))


def test_record_of_a_unit_that_was_not_finished_says_so(tmp_path: Path) -> None:
    unit = Unit("flow-000001", seconds={"flash": 1.0})
    record = json.loads(unit.write(tmp_path / "units").read_text())
    assert (record["verdict"], record["why"]) == ("failed", "not finished")
    unit.why = ""
    assert json.loads(unit.write(tmp_path / "units").read_text())["verdict"] == "passed"
