"""Models that come apart from the image: what is refused, what is tried, and what a trial leaves.

The bundles are the build's own. That one is fetched over HTTPS, goes on after a break, and is
thrown away when its digest differs, is in test_update.py; here the file lies there already.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from build_scripts import keys, model_bundle
from build_scripts.errors import BuildError
from firmware import messages, model_sets
from firmware.errors import EngineError, UpdateError
from firmware.update import download
from firmware.update.models import ModelUpdate, Places

Word = messages.Works


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> keys.Keys:
    return keys.development(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of converted models, with an engine of one of them."""
    folder = tmp_path / "converted"
    (folder / "fp16" / "engines").mkdir(parents=True)
    models: list[dict[str, object]] = []
    for name in ("detector", "gender"):
        content = name.encode() * 5000
        (folder / f"{name}.onnx").write_bytes(content)
        models.append(
            {
                "name": name,
                "file": f"{name}.onnx",
                "sha256": hashlib.sha256(content).hexdigest(),
                "input": [1, 3, 32, 32],
                "outputs": {},
            }
        )
    (folder / "models.json").write_text(json.dumps({"version": 1, "models": models}))
    (folder / "left-over.onnx").write_bytes(b"not in the index")
    (folder / "fp16" / "engines" / "gender.engine").write_bytes(b"an engine")
    return folder


@dataclass
class Device:
    """Its folders, and a supervisor that says the next word each time it is listened to."""

    places: Places
    words: list[Word | type[ConnectionError] | None] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def offer(self, bundle: Path, version: str) -> None:
        digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
        self.places.folder.mkdir(exist_ok=True)
        shutil.copyfile(bundle, self.places.folder / f"{digest}.flowmodels")
        asked = messages.StartUpdate("https://x/y", digest, version, "models")
        ModelUpdate(asked, self._hear, self._word, self.places).run()

    def chosen(self) -> str:
        return model_sets.chosen("", self.places.sets, self.places.release).version

    def _hear(self, said: messages.UpdateState) -> None:
        self.told.append(said.state)

    def _word(self, wait_s: float) -> Word | None:
        self.seen.append(self.chosen())
        word = self.words.pop(0) if self.words else None
        if word is ConnectionError:
            raise ConnectionError
        assert word is None or isinstance(word, Word)
        return word


@pytest.fixture
def device(tmp_path: Path, signer: keys.Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(download, "fetch", lambda *_, **__: None)
    (tmp_path / "sets").mkdir()
    (tmp_path / "release.pub").write_text(signer.public())
    yield Device(
        Places(
            sets=tmp_path / "sets",
            release=tmp_path / "release.pub",
            folder=tmp_path / "ram",
            trust=tmp_path / "none.pem",
            steady_s=0.0,
            patience_s=0.3,
        )
    )


@pytest.fixture
def built(source: Path, signer: keys.Keys, tmp_path: Path) -> Callable[[str], Path]:
    return lambda version: model_bundle.build(source, version, signer, tmp_path / version)


def works(version: str) -> list[Word | type[ConnectionError] | None]:
    return [Word(works=True), None, Word(works=True, models=version)]


def test_set_that_works_is_kept_and_the_next_goes_beside_it(
    device: Device, built: Callable[[str], Path]
) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        device.words, device.told, device.seen = works(version), [], []
        device.offer(built(version), version)
        assert device.told == ["installing", "trial", "committed"]
        assert set(device.seen) == {version}, "it is loaded while it is tried"
        assert device.chosen() == version
    assert sorted(path.name for path in device.places.sets.iterdir()) == [
        "a",
        "b",
        "in_use",
        "tried",
    ]
    assert not list(device.places.folder.iterdir()), "nothing stays in RAM"
    folder = model_sets.chosen("", device.places.sets, device.places.release).folder
    assert sorted(path.name for path in folder.iterdir()) == [
        *("detector.onnx", "gender.onnx", "models.json", "set")
    ]


@pytest.mark.parametrize(
    "words",
    [
        [],  # vision never came up with it
        [Word(works=True, models="1.0.0")],  # the old set still works
        [Word(models="1.1.0")],  # it looks with the new one, and something does not work
        [Word(failures=1), Word(failures=2), Word(works=True, models="1.1.0")],  # it does not load
        [ConnectionError],  # the supervisor is gone
    ],
)
def test_set_that_does_not_prove_itself_goes_and_is_not_tried_again(
    words: list[Word | type[ConnectionError] | None],
    device: Device,
    built: Callable[[str], Path],
) -> None:
    device.words = works("1.0.0")
    device.offer(built("1.0.0"), "1.0.0")
    device.words = words
    with pytest.raises(UpdateError, match="did not prove themselves"):
        device.offer(built("1.1.0"), "1.1.0")
    assert device.chosen() == "1.0.0"
    device.words, device.told = works("1.1.0"), []
    with pytest.raises(UpdateError, match="were tried"):
        device.offer(built("1.1.0"), "1.1.0")
    assert device.told == []
    device.words = works("1.2.0")
    device.offer(built("1.2.0"), "1.2.0")
    assert device.chosen() == "1.2.0"


def test_trial_ends_with_its_updater(device: Device, built: Callable[[str], Path]) -> None:
    """Killed, or without power: nobody is left to go back."""
    device.words = works("1.0.0")
    device.offer(built("1.0.0"), "1.0.0")
    with tarfile.open(built("1.1.0")) as archive:
        archive.extractall(device.places.sets / "b")  # noqa: S202 - built here
    updater = (
        "import os, sys; from pathlib import Path; from firmware import model_sets\n"
        "with model_sets.trying(Path(sys.argv[1]), 'b'):\n"
        "    print('tries', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", updater, str(device.places.sets)]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert running.stdout and running.stdout.readline() == b"tries\n"
    assert device.chosen() == "1.1.0"
    running.kill()
    running.communicate()
    assert (device.places.sets / "trial").read_text() == "b\n"
    assert device.chosen() == "1.0.0"


@pytest.mark.parametrize("torn", [b"", b"c\n", b"ab\n", b"\xff", b"../a\n"])
def test_damaged_word_on_what_is_in_use_means_the_models_of_the_image(
    torn: bytes, device: Device, built: Callable[[str], Path]
) -> None:
    device.words = works("1.0.0")
    device.offer(built("1.0.0"), "1.0.0")
    (device.places.sets / "in_use").write_bytes(torn)
    assert device.chosen() == ""


@pytest.mark.parametrize("offered", ["0.9.9", "1.0.0"])
def test_set_that_is_not_newer_is_refused(
    offered: str, device: Device, built: Callable[[str], Path]
) -> None:
    device.words = works("1.0.1")
    device.offer(built("1.0.1"), "1.0.1")
    with pytest.raises(UpdateError, match="not newer"):
        device.offer(built(offered), offered)


def repacked(bundle: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Path:
    with tarfile.open(bundle) as archive:
        content = {
            member.name: stream.read()
            for member in archive
            if (stream := archive.extractfile(member))
        }
    target = bundle.with_name("changed")
    with tarfile.open(target, "w") as archive:
        for name, data in change(content).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: {**c, "gender.onnx": b"x" * 30_000}, "was altered"),
        (lambda c: {n: d for n, d in c.items() if n != "gender.onnx"}, "was altered"),
        (lambda c: {**c, "more.onnx": b"x"}, "cannot be laid down"),
        (lambda c: {**c, "../escaped": b"x"}, "cannot be laid down"),
        (lambda c: dict(reversed(c.items())), "cannot be laid down"),  # models before the header
        (lambda c: {**c, "set": c["set"].replace(b"1.0.0", b"1.0.1")}, "is not signed"),
        (lambda c: {**c, "set": c["set"][:-20]}, "is not signed"),
        (lambda c: {**c, "set": b""}, "is not signed"),
    ],
)
def test_altered_bundle_leaves_nothing(
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
    reason: str,
    device: Device,
    built: Callable[[str], Path],
) -> None:
    with pytest.raises(UpdateError, match=reason):
        device.offer(repacked(built("1.0.0"), change), "1.0.0")
    assert list(device.places.sets.iterdir()) == [] and device.chosen() == ""
    assert not (device.places.sets.parent / "escaped").exists()


def test_link_in_a_bundle_is_refused(device: Device, built: Callable[[str], Path]) -> None:
    bundle = built("1.0.0")
    with tarfile.open(bundle, "a") as archive:
        entry = tarfile.TarInfo("gender.onnx")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(UpdateError, match="cannot be laid down"):
        device.offer(bundle, "1.0.0")


def test_bundle_of_a_stranger_or_for_another_firmware_is_refused(
    device: Device, source: Path, signer: keys.Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = keys.development(tmp_path / "stranger")
    bundle = model_bundle.build(source, "1.0.0", stranger, tmp_path / "out")
    with pytest.raises(UpdateError, match="not signed by this device's release"):
        device.offer(bundle, "1.0.0")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(model_sets, "__version__", "9.0.0")
        bundle = model_bundle.build(source, "1.0.0", signer, tmp_path / "out")
    with pytest.raises(UpdateError, match=r"made for firmware 9\.0\.0"):
        device.offer(bundle, "1.0.0")


def test_version_that_was_asked_for_must_be_the_one_inside(
    device: Device, built: Callable[[str], Path]
) -> None:
    with pytest.raises(UpdateError, match=r"holds models 1\.0\.0, not 2\.0\.0"):
        device.offer(built("1.0.0"), "2.0.0")
    assert device.chosen() == ""


def test_device_without_a_place_for_sets_says_so(
    device: Device, built: Callable[[str], Path]
) -> None:
    device.places.sets.rmdir()
    with pytest.raises(UpdateError, match="no place for models"):
        device.offer(built("1.0.0"), "1.0.0")


def test_set_that_was_altered_on_the_device_is_not_loaded(
    device: Device, built: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The partition is written, unlike the root: whoever takes the card out may write it too."""
    device.words = works("1.0.0")
    device.offer(built("1.0.0"), "1.0.0")
    with (device.places.sets / "a" / "gender.onnx").open("r+b") as file:
        file.write(b"G")
    choice = model_sets.chosen("/image/models", device.places.sets, device.places.release)
    assert choice == (Path("/image/models"), "")
    assert "models_refused" in capsys.readouterr().err
    with pytest.raises(EngineError, match="was altered"):
        model_sets.verified(device.places.sets / "a", device.places.release)


def test_engines_come_with_their_models_when_asked_for(
    source: Path, signer: keys.Keys, tmp_path: Path
) -> None:
    bundle = model_bundle.build(source, "1.0.0", signer, tmp_path / "out", engines=True)
    with tarfile.open(bundle) as archive:
        assert archive.getnames() == [
            *("set", "detector.onnx", "fp16/engines/gender.engine", "gender.onnx", "models.json")
        ]
    (source / "fp16" / "engines" / "gender.engine").unlink()
    with pytest.raises(BuildError, match="no engines"):
        model_bundle.build(source, "1.0.0", signer, tmp_path / "out", engines=True)


def test_bundle_is_not_built_of_what_is_not_whole(
    source: Path, signer: keys.Keys, tmp_path: Path
) -> None:
    one = model_bundle.build(source, "1.0.0", signer, tmp_path / "one").read_bytes()
    assert model_bundle.build(source, "1.0.0", signer, tmp_path / "two").read_bytes() == one
    with pytest.raises(BuildError, match="no version"):
        model_bundle.build(source, "1.0", signer, tmp_path)
    (source / "gender.onnx").write_bytes(b"other")
    with pytest.raises(BuildError, match="altered"):
        model_bundle.build(source, "1.0.0", signer, tmp_path)
