from __future__ import annotations

from pathlib import Path

import pytest

from firmware.errors import EngineError
from trt_engines import manifests
from trt_engines.manifests import HERE, JOBS

MINE = (HERE / "models" / "age" / "manifest.toml").read_text(encoding="utf-8")


def test_there_is_a_manifest_for_each_job_with_its_origin() -> None:
    loaded = manifests.load()
    assert tuple(loaded) == JOBS
    for job, manifest in loaded.items():
        assert manifest.name == job
        assert manifest.source.licence and manifest.source.training_data
        assert manifest.source.package and manifest.source.archive_sha256


def test_a_manifest_of_ones_own_names_a_file_beside_it(tmp_path: Path) -> None:
    head, _, tail = MINE.partition("[source]")
    _, _, tail = tail.partition("[input]")
    source = f'[source]\nfile = "mine.onnx"\nsha256 = "{"0" * 64}"\nlicence = "mine"\n'
    path = tmp_path / "age.toml"
    path.write_text(f"{head}{source}[input]{tail}", encoding="utf-8")
    loaded = manifests.load((path,))
    assert loaded["age"].source.file == str(tmp_path / "mine.onnx")
    assert loaded["gender"] == manifests.load()["gender"]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('name = "age"', 'name = "mood"', "name"),
        ("sha256 = ", "sha512 = ", "sha512"),
        ('sha256 = "4f', 'sha256 = "zz', "sha256"),
        ("width_px = 64", 'width_px = "wide"', "width_px"),
        ("scale = ", "scale : ", "not TOML"),
    ],
)
def test_a_wrong_manifest_names_the_place(
    tmp_path: Path, before: str, after: str, problem: str
) -> None:
    path = tmp_path / "age.toml"
    path.write_text(MINE.replace(before, after), encoding="utf-8")
    with pytest.raises(EngineError, match=rf"age\.toml.*{problem}"):
        manifests.load((path,))


def test_a_manifest_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"none\.toml cannot be read"):
        manifests.load((tmp_path / "none.toml",))
