"""What a unit leaves the station with: its name, its label, its record."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import segno

from firmware.errors import ConfigError
from firmware.uplink import identity
from hil.factory.__main__ import _names
from hil.factory.label import label
from hil.factory.station import Order, Station
from hil.factory.unit import Unit
from hil.rigs.strategy import RigError
from provisioning.authority import Authority
from provisioning.issued import Issued

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


class Hopeless:
    """A rig whose board never counts; its identity is real."""

    def __init__(self, partition: Path) -> None:
        self.partition = partition
        self.states: list[str] = []
        self.cloud = self

    def activate(self) -> None: ...

    def join(self, batch: Authority, issued: Issued, days: int) -> None:
        self.batch, self.issued, self.days = batch, issued, days

    def name_next(self, device: str) -> None:
        self.device = device

    def transition(self, state: str) -> None:
        self.states.append(state)
        if state == "provisioned":
            request = identity.request(self.partition / self.device, self.device)
            certificate = self.batch.device(request, days=self.days)
            self.issued.keep(self.device, certificate)
            self.installed = {"device.pem": certificate}
        if state == "counting":
            raise RigError("it did not come to this on the rig: it counts", remedy="look at it")


def test_unit_that_fails_gets_no_label_and_its_certificate_is_revoked(tmp_path: Path) -> None:
    issued = Issued(tmp_path / "ca")
    batch = Authority.root("Factory root").batch("q1")
    order = Order(batch, issued, 30, {"sensor.toml": b""}, NOTICE, tmp_path / "units")
    rig: Any = Hopeless(tmp_path / "boards")
    unit = Station(rig, order).make("flow-000001")
    assert not unit.passed and "it counts" in unit.why
    assert rig.states == ["flashed", "booted", "provisioned", "counting", "off"]
    assert issued.of("flow-000001") == [] and list((tmp_path / "ca" / "revoked").iterdir())
    record = json.loads((tmp_path / "units" / "flow-000001.json").read_text())
    assert record["verdict"] == "failed" and record["certificate"]["sha256"]
    assert not (tmp_path / "units" / "flow-000001.svg").exists()
