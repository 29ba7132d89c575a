"""The self-test passes on the product, and fails when a part of the wipe is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware import launcher, messages, settings
from firmware.errors import PrivacyError
from firmware.supervisor import Supervisor
from firmware.vision import models, native
from firmware.vision.selftest import Outcome
from hil.scenes.render import Scene
from hil.scenes.source import write_video
from tests import keys
from tests.integration.sight import SCRIPT, Vision
from tests.integration.test_supervisor import Run

ALONE = """
import json, sys
from firmware import settings
from firmware.vision import models, sandbox, selftest, wiping

class Camera:
    def release(self):
        pass

asked = settings.check(json.load(sys.stdin))
folder = models.directory()
sandbox.enter(asked, folder)
from firmware.drivers import onnx_engine
from firmware.vision import attributes, canary, memory
from firmware.vision.pipeline import Pipeline
frame_px = (640, 360)
engines = onnx_engine.load(folder, *models.chosen(folder, asked, frame_px))
pipeline = Pipeline(asked, engines, model_set="00000000", frame_px=frame_px)
kept = []
{broken}
outcome = selftest.run(pipeline, Camera())
print(json.dumps([outcome, len(pipeline.tracks), pipeline.settings == asked]))
"""


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    native.build()


def outcome_of(broken: str = "", **sections: dict[str, Any]) -> Outcome:
    """The outcome in a process that is started and confined as vision is."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(broken=broken)],
        env=launcher.environment("vision"),
        input=json.dumps(settings.builtins(settings.check(sections))),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=60,
    )
    outcome, followed, same_rules = json.loads(done.stdout)
    assert not followed, "the canary is still followed"
    assert same_rules
    return Outcome(*outcome)


@pytest.mark.parametrize(
    ("sections", "least"),
    [
        ({}, 24),
        ({"policy": {"mode": "count"}}, 12),
        # rules under which nobody would be counted: the canary is, for itself alone
        ({"detection": {"score": 1.0}, "interactions": {"zone": [[0, 0], [0, 0.1], [0.1, 0]]}}, 24),
    ],
)
def test_nothing_remains_of_the_canary(sections: dict[str, Any], least: int) -> None:
    outcome = outcome_of(**sections)
    assert outcome.passed and outcome.hits == 0
    assert outcome.found == outcome.wanted >= least


@pytest.mark.parametrize(
    "broken",
    [
        "memory.wipe = lambda owner='': None",
        "onnx_engine.OnnxEngine.scrub = lambda engine: None",
        "wiping.residue = lambda: None",
        # one line of the frame, kept by whoever looks at a face
        "look = attributes.Attributes.look; attributes.Attributes.look = lambda self, frame, at: "
        "(kept.append(frame.pixels[180].copy()), look(self, frame, at))[1]",
        # the numbers of one face
        "turn = Pipeline.turn; Pipeline.turn = lambda self: "
        "(turn(self), kept.extend(track.box.tolist() for track in self.tracks))[0]",
    ],
)
def test_what_remains_is_found(broken: str) -> None:
    outcome = outcome_of(broken)
    assert outcome.hits > 0 and not outcome.passed
    assert outcome.found == outcome.wanted


@pytest.mark.parametrize(
    "broken",
    [
        "canary.draw = lambda pixels: None",
        "attributes.Attributes.estimate = lambda *_: None",
    ],
)
def test_a_canary_that_was_not_seen_proves_nothing(broken: str) -> None:
    outcome = outcome_of(broken)
    assert outcome.found < outcome.wanted and not outcome.passed


# ---- in the running process ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "visitor.mp4"
    write_video(Scene(SCRIPT), path)
    return path


@pytest.fixture
def tree(clip: Path) -> dict[str, Any]:
    return {"source": {"uri": str(clip), "realtime": False}}


@pytest.fixture
def begun() -> Iterator[list[Vision]]:
    visions: list[Vision] = []
    yield visions
    for vision in visions:
        vision.close()


NO_WIPE = "from firmware.vision import wiping; wiping.memory.wipe = lambda owner='': None"


def test_it_runs_at_the_start_and_when_asked_and_counts_nobody(
    tree: dict[str, Any], begun: list[Vision]
) -> None:
    begun.append(vision := Vision(tree))
    vision.tell(messages.SelfTest())  # heard in the first turn; the clip begins without a visitor
    assert vision.ended() == 0
    first, second = vision.said(messages.SelfTested)
    assert first.passed and second.passed and first.controls > 24
    (record,) = vision.records
    assert record.dwell_ms >= 1800


def test_it_waits_until_nobody_is_in_view(tree: dict[str, Any], begun: list[Vision]) -> None:
    tree |= {"source": {**tree["source"], "realtime": True}}
    begun.append(vision := Vision(tree | {"privacy": {"selftest_every_s": 0}}))
    vision.wait_for(messages.VisionHealth)  # two seconds on, with the visitor in the middle of it
    vision.tell(messages.SelfTest())
    assert vision.ended() == 0
    kinds = [type(message) for message in vision.heard]
    assert messages.SelfTested not in kinds  # the clip ends with the visitor in view
    assert kinds.count(messages.Sealed) == 1


def test_strict_stops_on_a_trace(tree: dict[str, Any], begun: list[Vision]) -> None:
    begun.append(vision := Vision(tree | {"privacy": {"strict": True}}, before=NO_WIPE))
    assert vision.ended() == PrivacyError.exit_code
    (told,) = vision.said(messages.SelfTested)
    assert not told.passed and told.hits > 0
    assert vision.failure.error == "PrivacyError" and "traces" in vision.failure.problem
    assert "out of service" in vision.failure.remedy
    assert not vision.said(messages.VisionReady)


def test_strict_stops_when_it_cannot_be_done(
    tree: dict[str, Any], begun: list[Vision], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the search library is there; without strict it goes on and claims nothing."""
    folder = tmp_path / "native"
    folder.mkdir()
    for name in (native.ZERO_ON_FREE, native.SCRUB):
        library = native.library(name)
        assert library
        (folder / library.name).write_bytes(library.read_bytes())
    tree = tree | {"models": {"directory": str(models.directory())}}
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(tmp_path))
    begun.append(vision := Vision(tree | {"privacy": {"strict": True}}))
    assert vision.ended() == PrivacyError.exit_code
    assert "search library" in vision.failure.problem and "make native" in vision.failure.remedy
    begun.append(vision := Vision(tree))
    assert vision.ended() == 0
    assert not vision.said(messages.SelfTested) and len(vision.records) == 1


def test_without_strict_it_reports_and_goes_on(tree: dict[str, Any], begun: list[Vision]) -> None:
    begun.append(vision := Vision(tree, before=NO_WIPE))
    assert vision.ended() == 0
    assert [told.passed for told in vision.said(messages.SelfTested)] == [False]
    assert len(vision.records) == 1


def test_the_figure_reaches_the_health_record(tree: dict[str, Any], tmp_path: Path) -> None:
    """Real vision under the real supervisor; an uplink that writes down what it is given."""
    run = Run(tmp_path, {}, {})
    (tmp_path / "numbers").write_text("0\n")
    rules = {
        "source": {**tree["source"], "realtime": True},
        "health": {"every_s": 1},
        "identity": {"directory": str(tmp_path)},
    }
    Supervisor(
        settings.check(rules),
        device="flow-0001",
        recipient_key=keys.private_key().public_bytes(),
        start=lambda name: launcher.start(name) if name == "vision" else run.start(name),
    ).run()
    assert run.delivered == [1], "the canary has no number"
    health = run.notes("uplink", "Health")[-1][1]
    assert (health["selftest"], health["selftest_hits"]) == ("passed", 0)
    assert health["selftest_controls"] > 24 and health["selftest_ms"] > 0
