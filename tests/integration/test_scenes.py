"""Scenes through the product's own pipeline: what is drawn is what is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware.errors import ConfigError, EngineError
from hil import report
from hil.scenes import evaluation, portraits, script
from hil.scenes.__main__ import main

TWO = """
title = "two stand, the nearer one leaves"
seconds = 3
interactions = 2
[camera]
width_px = 640
height_px = 360
[[visitor]]
portrait = "obama"
path = [[0.0, -0.4, 1.8], [3.0, -0.3, 1.7]]
[[visitor]]
portrait = "astronaut"
path = [[0.0, 0.4, 1.6], [1.2, 0.4, 1.6], [2.6, 1.9, 1.6]]
height_m = 1.66
"""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "two.scene"
    path.write_text(TWO)
    return path


def test_the_pipeline_counts_what_is_drawn(scene: Path) -> None:
    found = evaluation.evaluate(scene)
    assert (found.name, found.truth, found.counted, found.switches) == ("two", 2, 2, 0)
    assert found.idf1 > 0.95


def test_a_scene_whose_author_counted_wrong_is_refused(scene: Path) -> None:
    scene.write_text(TWO.replace("interactions = 2", "interactions = 3"))
    with pytest.raises(ConfigError, match="2 interactions take place, not 3"):
        evaluation.evaluate(scene)


@pytest.mark.parametrize("kind", ["mp4", "avi"])
def test_a_rendered_video_has_its_truth_beside_it_and_is_counted_alike(
    scene: Path, tmp_path: Path, kind: str
) -> None:
    video = tmp_path / f"two.{kind}"
    assert main(["render", str(scene), str(video)]) == 0
    truth = json.loads((tmp_path / "two.truth.json").read_text())
    assert truth["frames"] == 75
    assert [visit["who"] for visit in truth["interactions"]] == [0, 1]
    assert {"box", "in_view", "speed_m_s", "distance_m", "light"} <= truth["samples"][0].keys()
    seconds, interactions = evaluation.count(video)
    assert (seconds, len(interactions)) == (3.0, 2)
    assert sorted(each.gender.value.value for each in interactions) == ["female", "male"]


def test_the_report_has_the_keys_that_later_checks_read(
    scene: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    clips = tmp_path / "clips"
    main(["render", str(scene), str(clips / "two.avi")])
    assert main(["evaluate", str(scene), "--clips", str(clips)]) == 0
    written = json.loads((tmp_path / "reports" / "scenes.json").read_text())
    (row,) = written["scenes"]
    assert list(row) == ["name", "truth", "counted", "idf1", "switches"]
    assert (row["name"], row["truth"], row["counted"]) == ("two", 2, 2)
    assert [(clip["name"], clip["counted"]) for clip in written["clips"]] == [("two", 2)]
    assert {"machine", "commit", "date"} <= written.keys()
    assert "1 of 1 counted right" in capfd.readouterr().out


HURRY = """
title = "a camera far too slow for somebody so fast"
seconds = 3
interactions = 1
[camera]
width_px = 640
height_px = 360
frames_per_s = 1
[[visitor]]
portrait = "obama"
path = [[0.0, -1.0, 1.9], [3.0, 2.0, 1.9]]
"""


def test_a_wrong_count_is_an_exit_status(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    scene.write_text(HURRY)
    assert main(["evaluate", str(scene)]) == 1
    assert "0 of 1 counted right" in capfd.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["render", "one_passes", "x.webm"],
        ["render", "no_such_scene", "x.mp4"],
        ["evaluate", "empty", "--clips", "."],
        ["evaluate", "no_such_scene"],
    ],
)
def test_wrong_words_end_with_what_to_do(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == ConfigError.exit_code
    assert "remedy:" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_shortest_standard_scene_is_counted_right() -> None:
    found = evaluation.evaluate(script.STANDARD / "one_passes.scene")
    assert (found.truth, found.counted, found.switches) == (1, 1, 0)


def test_a_portrait_that_is_no_picture_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "obama.jpg"
    broken.write_bytes(b"no picture")
    monkeypatch.setattr(portraits, "portrait", lambda name: broken)
    with pytest.raises(EngineError, match="is not a picture"):
        portraits.head.__wrapped__("obama")
