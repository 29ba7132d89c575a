"""Scenes as text: what is wrong in one is said with its place; the standard set is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware.errors import ConfigError
from hil.scenes import script

GOOD = """
title = "one"
seconds = 2
interactions = 1
[[visitor]]
portrait = "obama"
path = [[0.0, -1.0, 2.0], [2.0, 1.0, 2.0]]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "x.scene"
    path.write_text(text)
    return path


def test_a_scene_has_defaults_for_all_but_what_happens(tmp_path: Path) -> None:
    scene = script.load(written(tmp_path, GOOD))
    assert scene.camera == script.Camera()
    assert scene.visitor[0].path == ((0.0, -1.0, 2.0), (2.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("seconds = 2", "seconds = 2\nsekonds = 3", "sekonds"),
        ("seconds = 2", "seconds = -2", "seconds"),
        ("seconds = 2", 'seconds = "2"', "seconds"),
        ('"obama"', '"mona_lisa"', "portrait"),
        ("[2.0, 1.0, 2.0]", "[2.0, 1.0, 0.0]", "path"),  # in the camera itself
        ("[2.0, 1.0, 2.0]", "[2.0, 1.0]", "path"),
        (", [2.0, 1.0, 2.0]", "", "path"),  # one point is no path
        ("[2.0, 1.0, 2.0]", "[0.0, 1.0, 2.0]", "times must rise"),
        ("title =", "title ==", "x.scene"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=named):
        script.load(written(tmp_path, GOOD.replace(old, new)))


def test_turns_must_be_in_order_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="turn: times must rise"):
        script.load(written(tmp_path, GOOD + "turn = [[1.0, 0.0], [0.5, 30.0]]\n"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_no_text_is_said_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "y.scene"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"y\.scene"):
        script.load(path)


def test_the_standard_set_loads_and_covers_what_it_must() -> None:
    names = {path.stem for path in script.standard()}
    assert all(script.load(path).title for path in script.standard())
    assert len(names) >= 12
    assert names >= {
        "back_late",
        "back_soon",
        "crossing",
        "dim_light",
        "empty",
        "occlusion",
        "profile_turn",
        "ten_at_once",
        "two_m_s",
    }
