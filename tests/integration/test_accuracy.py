"""`python -m hil.accuracy` on four public-domain portraits, laid out like a labelled folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from firmware.errors import ConfigError, EngineError
from hil import report
from hil.accuracy.__main__ import main
from hil.accuracy.labelled import read
from trt_engines.acquire import portrait

# name, left, top and side of a tight square crop, gender, age when the picture was taken
PEOPLE = (
    ("astronaut", 150, 60, 140, "female", 42),
    ("grace_hopper", 130, 90, 270, "female", 77),
    ("obama", 300, 60, 390, "male", 51),
    ("biden", 330, 130, 440, "male", 70),
)
FACE = (181, 72, 87, 105)
"""Left, top, width and height of the astronaut's face."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    for name in ("age_gender", "expression", "detection", "no_face"):
        (folder / name).mkdir()
    rows = ["path,age,gender,race,natural_weight"]
    for name, left, top, side, gender, age in PEOPLE:
        crop = read(portrait(name))[top : top + side, left : left + side]
        save(folder / "age_gender" / f"{name}.png", cv2.resize(crop, (200, 200)))
        rows.append(f"{name}.png,{age},{gender},any,{2 if gender == 'male' else 1}")
        if name == "astronaut":
            small = cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA)
            save(folder / "expression" / "happy.png", cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
    save(folder / "expression" / "blank.png", np.full((48, 48), 90, np.uint8))
    write(folder / "age_gender" / "index.csv", rows)
    shown = ["path,expression", "happy.png,happy", "blank.png,sad"]
    write(folder / "expression" / "index.csv", shown)
    save(folder / "detection" / "one.png", read(portrait("astronaut")))
    boxes = ["path,x,y,width,height,real_px", ",".join(map(str, ("one.png", *FACE, 87)))]
    write(folder / "detection" / "boxes.csv", boxes)
    save(folder / "no_face" / "wall.png", np.full((300, 400, 3), 128, np.uint8))
    return folder


def save(path: Path, picture: cv2.typing.MatLike) -> None:
    assert cv2.imwrite(str(path), picture)


def write(path: Path, rows: Iterable[str]) -> None:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "REPORTS", tmp_path)
    return tmp_path


def test_portraits_are_judged_right_and_reported_under_stable_names(
    data: Path, reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(data)]) == 0
    figures = json.loads((reports / "accuracy.json").read_text())
    keys = ["detection", "age", "gender", "expression", "groups", "machine", "commit", "date"]
    assert list(figures) == keys
    assert figures["detection"] == {
        "ap_12px": 1.0,
        "ap_20px": 1.0,
        "ap_32px": 1.0,
        "false_positives_per_image": 0.0,
    }
    # The network takes Grace Hopper, in her navy cap, for a man: 1 of the weights' sum of 6.
    assert figures["gender"]["accuracy_adults"] == figures["gender"]["accuracy_natural"]
    assert figures["gender"]["accuracy_natural"] >= 5 / 6 - 1e-9
    assert list(figures["age"]) == [
        "mae_natural",
        "mae_balanced",
        "bucket_natural",
        "within_one_natural",
    ]
    assert figures["age"]["mae_balanced"] < 12
    # Of the two faces one is blank: not seen counts as wrong.
    assert figures["expression"] == {"accuracy_7": 0.5, "accuracy_4": 0.5}
    by = {(group["by"], group["group"]): group for group in figures["groups"]}
    assert by["gender", "male"]["count"] == by["gender", "male"]["seen"] == 2
    assert by["age", "65+"]["count"] == 2
    assert by["gender", "male"]["gender_natural"] == 1
    assert by["race", "any"]["count"] == 4
    assert (by["expression", "sad"]["count"], by["expression", "sad"]["seen"]) == (1, 0)
    printed = capsys.readouterr().out
    assert "ap_20px=1.0000" in printed and "accuracy_7=0.5000" in printed


def test_weights_and_limit(data: Path, reports: Path) -> None:
    assert main(["--data", str(data), "--limit", "2"]) == 0
    figures = json.loads((reports / "accuracy.json").read_text())
    everybody = next(group for group in figures["groups"] if group["by"] == "all")
    assert everybody["count"] == 2
    errors = {
        group["group"]: group["mae_balanced"]
        for group in figures["groups"]
        if group["by"] == "gender"
    }
    # Men weigh twice as much as women here.
    expected = (errors["female"] + 2 * errors["male"]) / 3
    assert figures["age"]["mae_natural"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        ("age_gender/index.csv", None, "cannot be read"),
        ("age_gender/index.csv", "path,age\none.png,old", "age"),
        ("expression/index.csv", "path,expression", "no rows"),
        ("detection/boxes.csv", "\xff\xfe", "boxes.csv"),
        ("age_gender/astronaut.png", "no picture", "astronaut.png is not a picture"),
    ],
)
@pytest.mark.usefixtures("reports")
def test_a_folder_that_is_not_laid_out_so_is_an_error(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: tuple[str, str | None, str],
) -> None:
    file, content, problem = wrong
    folder = tmp_path / "data"
    for path in data.rglob("*.*"):
        if content is None and path == data / file:
            continue
        copy = folder / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    if content is not None:
        (folder / file).write_text(content, encoding="latin-1")
    assert main(["--data", str(folder), "--limit", "1"]) == ConfigError.exit_code
    error = capsys.readouterr().err
    assert problem in error and "remedy: pass --data" in error


def test_a_detector_width_that_was_not_converted_is_an_error(
    data: Path, reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(data), "--width", "1248"]) == EngineError.exit_code
    assert "convert --width 1248" in capsys.readouterr().err
