"""Thousands of visitors, one after another: nothing grows, nothing gets slower."""

from __future__ import annotations

import json
import time

import pytest

from hil.rigs import soak
from hil.rigs.strategy import SensorStrategy
from hil.scenarios.conftest import Note

_LOOK_S = 0.5


@pytest.mark.long
@pytest.mark.needs("soak")
def test_soak(rig: SensorStrategy, note: Note, request: pytest.FixtureRequest) -> None:
    """Memory of no process grows; files and threads stay; the last frames are as quick, by the
    time that they have the processor: the other depends on what else the machine does."""
    judged = request.config.getoption("interactions")
    if not judged:
        pytest.skip("not applicable: it takes a quarter of an hour; make soak runs it by itself")
    wanted = soak.WARM + judged
    groups = 20 + wanted * 21 // 20 // soak.AT_ONCE  # so that its end is never seen
    source = {**soak.SETTINGS["source"], "uri": rig.camera.place(soak.clip(groups))}
    rig.transition("flashed")
    rig.special = {**soak.SETTINGS, "source": source}
    rig.transition("provisioned")
    samples: list[soak.Sample] = []
    began = time.monotonic()

    def look() -> bool:
        count = len(rig.interactions())
        said = rig.cloud.health(rig.device)
        if count and said:
            newest = said[-1]
            samples.append(
                soak.Sample(
                    count,
                    round(time.monotonic() - began, 2),
                    tuple(rig.board.processes()),
                    newest["frame_ms_p95_x10"] / 10,
                    newest["frame_cpu_ms_p95_x10"] / 10,
                    newest["waiting"],
                )
            )
        time.sleep(_LOOK_S)
        return bool(count >= wanted)

    rig.wait(look, f"{wanted} visitors are counted", 60 + wanted * rig.soak_visitor_s)
    seconds = time.monotonic() - began
    rig.cut_power()
    figures = soak.figures(samples)
    kept = request.config.getoption("kept") / "soak.json"
    kept.write_text(json.dumps([soak.plain(one) for one in samples]), "utf-8")
    note(
        "soak",
        json.dumps(
            {"interactions": judged, "warm_up": soak.WARM, "seconds": round(seconds), **figures}
        ),
    )
    for name, rss in figures["rss_slope_kb_per_1000"].items():
        assert rss["low"] <= 0, f"{name} grows by {rss} kB per 1,000 interactions"
    for kind in ("files", "threads"):
        first, last = figures[f"{kind}_at_first"], figures[kind]
        assert all(last[name] <= first[name] for name in last), f"more {kind}: {first} → {last}"
    assert figures["frame_cpu_ms_p95"]["low"] <= 0, "frames take longer and longer"
