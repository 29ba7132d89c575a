"""The rig that scenarios run on: pytest --lg-env hil/rigs/<rig>.yaml hil/scenarios."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from hil import report
from hil.rigs.strategy import SensorStrategy

Note: TypeAlias = Callable[[str, object], None]
"""Puts a figure into the report, by its name."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cuts", type=int, default=5, help="power cuts in mid-interaction")
    parser.addoption("--interactions", type=int, default=0, help="of the soak; 0: none")
    kept = report.ROOT / "build" / "hil"
    parser.addoption("--kept", type=Path, default=kept, help="folder for what was said and seen")
    parser.addoption("--seed", type=int, default=1, help="of the moments of power cuts")


@pytest.fixture
def note(record_property: Note) -> Note:
    return record_property


@pytest.fixture
def rig(request: pytest.FixtureRequest, strategy: SensorStrategy) -> Iterator[SensorStrategy]:
    """The rig, if it can do what the scenario needs; what arrived there must be true."""
    for mark in request.node.iter_markers("needs"):
        if mark.args[0] in strategy.cannot:
            pytest.skip(f"not applicable: {strategy.cannot[mark.args[0]]}")
    yield strategy
    strategy.restore()
    with (request.config.getoption("kept") / "health.jsonl").open("a", encoding="utf-8") as file:
        for at_s, health in strategy.cloud.said():
            line = {"scenario": request.node.name, "at_s": at_s, "health": health}
            file.write(json.dumps(line) + "\n")
    assert not strategy.cloud.refused, strategy.cloud.refused
