"""What a build makes, in small: locks, a sealed root, an initramfs, bundles, papers."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource

from build_scripts import boards, debian, device_bundle, keys, offers, sbom, signing, tools, update
from build_scripts.errors import BuildError
from build_scripts.image import disk, initramfs, product
from build_scripts.image import root as roots

BOARD = boards.board("virt", "amd64")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> keys.Keys:
    return keys.development(tmp_path_factory.mktemp("keys"))


# ---- locks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_lock_names_every_package_of_its_board_once(architecture: str) -> None:
    locked = debian.Lock.load(debian.lock_path(architecture))
    names = [package.name for package in locked.packages]
    assert len(names) == len(set(names))
    assert set(boards.board("virt", architecture).packages) <= set(names)
    assert sum(package.kernel for package in locked.packages) == 1
    assert not {"openssh-server", "login"} & set(names)


def test_package_that_is_not_the_locked_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "mirror" / "debian" / "pool"
    pool.mkdir(parents=True)
    (pool / "a_1_all.deb").write_bytes(b"genuine")
    digest = hashlib.sha256(b"genuine").hexdigest()
    monkeypatch.setattr(debian, "MIRROR", (tmp_path / "mirror").as_uri())
    monkeypatch.setattr(debian, "SNAPSHOT", (tmp_path / "snapshot").as_uri())
    lock = tmp_path / "lock"
    lock.write_text(f"# resolved 20260101T000000Z\n{digest} debian/pool/a_1_all.deb\n")
    debian.fetch(debian.Lock.load(lock), tmp_path / "good")
    assert (tmp_path / "good" / digest).read_bytes() == b"genuine"
    (pool / "a_1_all.deb").write_bytes(b"altered")
    with pytest.raises(BuildError, match=r"a_1_all\.deb cannot be had"):
        debian.fetch(debian.Lock.load(lock), tmp_path / "bad")
    kept = tmp_path / "snapshot" / "debian" / "20260101T000000Z" / "pool"
    kept.mkdir(parents=True)
    (kept / "a_1_all.deb").write_bytes(b"genuine")  # gone from the mirror, kept by the archive
    debian.fetch(debian.Lock.load(lock), tmp_path / "late")
    assert (tmp_path / "late" / digest).read_bytes() == b"genuine"


@pytest.mark.parametrize(
    "text", ["", "# resolved today\n", "# resolved 20260101T000000Z\nabc x.deb\n"]
)
def test_damaged_lock_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(BuildError, match="cannot be used"):
        debian.Lock.load(tmp_path / "lock")


def test_requirements_are_the_devices_own_with_all_their_hashes() -> None:
    text = (
        "# a comment\n"
        "numpy==1.0 ; python_full_version < '3.11' \\\n    --hash=sha256:aa\n"
        "numpy==2.0 ; python_full_version >= '3.12' \\\n    --hash=sha256:bb \\\n"
        "    --hash=sha256:cc\n    # via x\n"
        "wheel==1 \\\n    --hash=sha256:dd\n"
        "cuda==1 ; platform_machine == 'x86_64' \\\n    --hash=sha256:ee\n"
    )
    assert product.requirements(text, "aarch64", "3.13") == (
        "numpy==2.0 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    )
    assert "numpy==1.0" in product.requirements(text, "aarch64", "3.10")
    assert "cuda==1" in product.requirements(text, "x86_64", "3.13")


def test_no_board_of_that_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BuildError, match="'toaster'"):
        boards.board("toaster", "arm64")


def test_missing_tool_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_find", lambda name: None)
    with pytest.raises(BuildError, match="mksquashfs, rauc") as missing:
        tools.require("mksquashfs", "rauc")
    assert "apt install --no-install-recommends rauc squashfs-tools" in missing.value.remedy


# ---- what starts ---------------------------------------------------------------------------------


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "kernel/fs/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2.ko.xz\n"
        "kernel/fs/jbd2.ko.xz: kernel/lib/crc16.ko.xz\nkernel/lib/crc16.ko.xz:\n"
        "kernel/net/other.ko.xz:\nkernel/drivers/virtio-rng.ko.xz:\n"
    )
    order = roots.closure(tmp_path, ("ext4", "virtio_rng", "built-in"))
    assert [path.rpartition("/")[2] for path in order] == [
        "crc16.ko.xz",
        "jbd2.ko.xz",
        "ext4.ko.xz",
        "virtio-rng.ko.xz",
    ]


def test_cpio_archive_is_one_that_others_unpack(tmp_path: Path) -> None:
    archive = initramfs.cpio(
        {
            "bin": (stat.S_IFDIR | 0o755, b""),
            "bin/tool": (stat.S_IFREG | 0o755, b"content"),
            "bin/link": (stat.S_IFLNK | 0o777, b"tool"),
        }
    )
    cpio = shutil.which("cpio")
    assert cpio, "apt install cpio"
    subprocess.run([cpio, "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "bin" / "link").read_bytes() == b"content"
    assert (tmp_path / "bin" / "tool").stat().st_mode & 0o777 == 0o755


@pytest.fixture(scope="module")
def sealed(signer: keys.Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny root file system, packed, hashed and signed as an image's."""
    folder = tmp_path_factory.mktemp("image")
    content = folder / "content"
    content.mkdir()
    (content / "etc").write_bytes(
        b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256)) * 8
    )
    image = folder / "root.img"
    disk.squash(content, image)
    disk.seal(image, BOARD, "1.2.3", signer)
    (folder / "manifest.json").write_text(
        json.dumps(
            {
                "board": "virt",
                "architecture": "amd64",
                "flavour": "rig",
                "version": "1.2.3",
                "compatible": BOARD.compatible,
                "root": "root.img",
                "packages": "0" * 64,
                "files": {"root.img": {"bytes": 0, "sha256": disk.digest(image)}},
            }
        )
    )
    return folder


def header(image: Path) -> tuple[bytes, bytes, int]:
    """The signed lines, the signature, and the number of the block they stand in."""
    content = image.read_bytes()
    blocks = -(-int.from_bytes(content[40:48], "little") // disk.BLOCK)
    block = content[blocks * disk.BLOCK :][: disk.BLOCK].rstrip(b"\0")
    text, _, signature = block.partition(b"--\n")
    return text, base64.b64decode(signature.splitlines()[1]), blocks


def test_header_stands_behind_the_files_and_is_signed(sealed: Path, signer: keys.Keys) -> None:
    text, signature, blocks = header(sealed / "root.img")
    fields = dict(line.split(" ", 1) for line in text.decode().splitlines())
    assert fields["version"] == "1.2.3" and fields["compatible"] == BOARD.compatible
    assert fields["blocks"] == str(blocks)
    public = base64.b64decode(signer.public().splitlines()[1])
    Ed25519PublicKey.from_public_bytes(public[10:]).verify(signature[10:], text)


@pytest.mark.parametrize("place", ["files", "tree"])
def test_one_altered_byte_of_a_root_is_found(sealed: Path, tmp_path: Path, place: str) -> None:
    fields = dict(
        line.split(" ", 1) for line in header(sealed / "root.img")[0].decode().splitlines()
    )
    blocks = int(fields["blocks"])
    image = tmp_path / "root.img"
    shutil.copyfile(sealed / "root.img", image)
    command: list[str | Path] = [
        *("veritysetup", "verify", "--no-superblock", "--hash=sha256"),
        *("--data-block-size=4096", "--hash-block-size=4096", f"--data-blocks={blocks}"),
        *(f"--hash-offset={(blocks + 1) * 4096}", f"--salt={fields['salt']}"),
        *(image, image, fields["root"]),
    ]
    tools.run(command)
    with image.open("r+b") as file:
        file.seek(100 if place == "files" else (blocks + 1) * disk.BLOCK + 10)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(BuildError):
        tools.run(command)


def test_same_files_give_the_same_root(sealed: Path, signer: keys.Keys, tmp_path: Path) -> None:
    content = tmp_path / "content"
    shutil.copytree(sealed / "content", content)
    disk.squash(content, tmp_path / "root.img")
    disk.seal(tmp_path / "root.img", BOARD, "1.2.3", signer)
    assert disk.digest(tmp_path / "root.img") == disk.digest(sealed / "root.img")


def test_disk_has_its_partitions_where_it_says(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"root" * 1000)
    places = disk.write(
        tmp_path / "disk.img",
        [disk.Partition("slots", 1), disk.Partition("root_a", 2, content)],
    )
    assert [place["name"] for place in places] == ["slots", "root_a"]
    start = int(places[1]["start"])
    assert (tmp_path / "disk.img").read_bytes()[start : start + 4000] == b"root" * 1000
    assert places[1]["bytes"] == 2 << 20


# ---- updates -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(sealed: Path, signer: keys.Keys) -> Iterator[Path]:
    yield update.build(sealed, signer)


def rauc(*words: str | Path) -> dict[str, Any]:
    said = tools.run(["rauc", *words])
    found: dict[str, Any] = json.loads(said) if said.startswith("{") else {}
    return found


def test_rauc_takes_the_bundle_and_reads_its_version(bundle: Path, signer: keys.Keys) -> None:
    about = rauc("info", "--output-format=json", f"--keyring={signer.update_ca}", bundle)
    assert about["version"] == "1.2.3" and about["compatible"] == BOARD.compatible


def test_rauc_refuses_a_bundle_of_another_signer(bundle: Path, tmp_path: Path) -> None:
    stranger = keys.development(tmp_path / "stranger")
    with pytest.raises(BuildError, match="signature"):
        rauc("info", f"--keyring={stranger.update_ca}", bundle)


def test_rauc_refuses_a_bundle_whose_manifest_was_altered(
    bundle: Path, signer: keys.Keys, tmp_path: Path
) -> None:
    """The signed manifest, with the root of the hash tree, stands behind the content."""
    content = bytearray(bundle.read_bytes())
    at = content.rindex(b"version=1.2.3")
    content[at : at + 13] = b"version=9.2.3"
    (tmp_path / "altered.raucb").write_bytes(content)
    with pytest.raises(BuildError, match="signature"):
        rauc("info", f"--keyring={signer.update_ca}", tmp_path / "altered.raucb")


def test_no_bundle_of_a_root_that_was_altered(
    sealed: Path, signer: keys.Keys, tmp_path: Path
) -> None:
    shutil.copytree(sealed, tmp_path / "image")
    with (tmp_path / "image" / "root.img").open("ab") as file:
        file.write(b"more")
    with pytest.raises(BuildError, match="not what was built"):
        update.build(tmp_path / "image", signer)


@pytest.fixture(scope="module")
def offered(signer: keys.Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The offers for a rig whose system holds nothing but what the supervisor's unit starts."""
    image = tmp_path_factory.mktemp("rig")
    entry = image / "content" / product.PLACE / "bin" / "flow-sensor"
    entry.parent.mkdir(parents=True)
    entry.write_text("#!/bin/sh\necho it works\n")
    (image / "content" / "rest").write_bytes(hashlib.shake_128(b"rest").digest(1 << 16))
    disk.squash(image / "content", image / "root.img")
    disk.seal(image / "root.img", BOARD, "1.2.9", signer)
    about = {
        "version": "1.2.9",
        "compatible": BOARD.compatible,
        "root": "root.img",
        "files": {"root.img": {"sha256": disk.digest(image / "root.img")}},
    }
    (image / "manifest.json").write_text(json.dumps(about))
    return offers.build(image, BOARD, signer)


def test_every_offer_is_wrong_in_the_way_that_its_name_says(
    offered: Path, signer: keys.Keys
) -> None:
    made = json.loads(offered.read_text())

    def said(name: str) -> dict[str, Any]:
        file = offered.parent / made[name]["file"]
        return rauc("info", "--output-format=json", f"--keyring={signer.update_ca}", file)

    for name, version in (("good", "1.2.10"), ("crashing", "1.2.11"), ("too old", "0.0.1")):
        assert said(name)["version"] == made[name]["version"] == version
        assert said(name)["compatible"] == BOARD.compatible
    lying = "too old, called new"
    assert said(lying)["version"] == "0.0.1" and made[lying]["version"] == "1.2.15"
    assert said("of another board")["compatible"] != BOARD.compatible
    with pytest.raises(BuildError, match="signature"):
        said("of a stranger")
    altered = offered.parent / made["altered"]["file"]
    assert made["altered"]["sha256"] == disk.digest(altered)
    assert said("altered")["version"], "the manifest is good: only what it stands for is not"
    versions = [each["version"] for each in made.values()]
    assert len(set(versions)) == len(versions), "two of them could be taken for each other"


def test_offered_systems_differ_in_what_the_unit_starts(offered: Path, tmp_path: Path) -> None:
    """A bundle begins with the squashfs that holds `root.img`, which begins with the system."""
    started = {}
    for name in ("good", "crashing"):
        folder = tmp_path / name
        tools.run(["unsquashfs", "-quiet", "-d", folder, offered.parent / f"{name}.raucb"])
        text, _, _ = header(folder / "root.img")
        assert b"version 1.2.1" in text
        tools.run(["unsquashfs", "-quiet", "-d", folder / "system", folder / "root.img"])
        entry = folder / "system" / product.PLACE / "bin" / "flow-sensor"
        started[name] = subprocess.run(["sh", entry], check=False).returncode
    assert started == {"good": 0, "crashing": 1}


# ---- papers --------------------------------------------------------------------------------------


def test_signature_is_good_for_its_file_and_key_alone(tmp_path: Path, signer: keys.Keys) -> None:
    path = tmp_path / "release.tar.gz"
    path.write_bytes(b"a release")
    signing.sign(path, signer)
    signing.verify(path, signer.public())
    stranger = keys.development(tmp_path / "stranger")
    with pytest.raises(BuildError, match="another key"):
        signing.verify(path, stranger.public())
    path.write_bytes(b"A release")
    with pytest.raises(BuildError, match="not what was signed"):
        signing.verify(path, signer.public())
    (tmp_path / "release.tar.gz.sig").write_text("untrusted comment: x\nRWQ=\n")
    with pytest.raises(BuildError, match="cannot be used"):
        signing.verify(path, signer.public())


def test_provenance_names_every_file_and_is_signed(sealed: Path, signer: keys.Keys) -> None:
    document = json.loads(signing.provenance(sealed, signer).read_text())
    statement = signing.opened(document, signer.public())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [
        {"name": "root.img", "digest": {"sha256": disk.digest(sealed / "root.img")}}
    ]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["version"] == "1.2.3"
    assert any(
        part.get("uri", "").startswith("pkg:deb/debian/systemd@")
        for part in definition["resolvedDependencies"]
    )
    payload = base64.b64decode(document["payload"]).replace(b"1.2.3", b"1.2.4")
    forged = {**document, "payload": base64.b64encode(payload).decode()}
    with pytest.raises(BuildError, match="not what was signed"):
        signing.opened(forged, signer.public())


def _small(name: str, depends: str, place: Path) -> Path:
    """A Debian package with a copyright file and nothing else."""
    tree = place / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: x <x@example.com>\n"
        f"Description: x\n{depends}"
    )
    copyright_file = tree / "usr" / "share" / "doc" / name / "copyright"
    copyright_file.parent.mkdir(parents=True)
    copyright_file.write_text("Files: *\nLicense: Expat\n\nFiles: y\nLicense: GPL-2+\n words\n")
    path = place / f"{name}_1.0-1_all.deb"
    tools.run(["dpkg-deb", "--build", "--root-owner-group", tree, path])
    return path


def test_bill_of_materials_is_valid_and_names_licences_and_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one small package in place of 154 from the network; the models are the real ones."""
    package = _small("small", "", tmp_path)
    digest = disk.digest(package)
    cache = tmp_path / "cache" / "debs"
    cache.mkdir(parents=True)
    shutil.copyfile(package, cache / digest)
    lock = tmp_path / "lock"
    lock.write_text(f"# resolved 20260101T000000Z\n{digest} debian/pool/{package.name}\n")
    monkeypatch.setattr(debian, "lock_path", lambda architecture: lock)
    monkeypatch.setattr(product, "wheels", lambda machine, cache: [])
    bill = sbom.document(BOARD, tmp_path / "cache")
    schemas = files("cyclonedx.schema") / "_res"
    loaded = {
        name: json.loads((schemas / f"{file}.SNAPSHOT.schema.json").read_text())
        for name, file in (("bom", "bom-1.6"), ("spdx", "spdx"), ("jsf-0.82", "jsf-0.82"))
    }
    registry: Registry[Any] = Registry().with_resources(
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", Resource.from_contents(schema))
        for name, schema in loaded.items()
    )
    problems = list(Draft7Validator(loaded["bom"], registry=registry).iter_errors(bill))
    assert problems == []
    parts = {part["bom-ref"]: part for part in bill["components"]}
    assert parts["deb:small"]["licenses"] == [
        {"license": {"name": "Expat"}},
        {"license": {"name": "GPL-2+"}},
    ]
    cards = [part for part in parts.values() if part["type"] == "machine-learning-model"]
    assert {part["bom-ref"] for part in cards} == {
        f"model:{job}" for job in ("detector", "age", "gender", "expression")
    }
    assert all(card["licenses"] and card["modelCard"]["quantitativeAnalysis"] for card in cards)


# ---- for an existing system ----------------------------------------------------------------------


def test_installer_refuses_what_was_altered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "wheels", lambda machine, cache, python: [])
    monkeypatch.setattr(product, "copy_models", lambda folder: None)
    path = device_bundle.build("x86_64", "3.11", tmp_path, tmp_path / "out")
    again = device_bundle.build("x86_64", "3.11", tmp_path, tmp_path / "again")
    assert disk.digest(path) == disk.digest(again)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - made here
    folder = tmp_path / path.name.removesuffix(".tar.gz")

    def check() -> subprocess.CompletedProcess[str]:
        command = ["sh", str(folder / "install.sh"), "--check"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert check().returncode == 0
    (folder / "wheels" / "extra.whl").write_bytes(b"")
    assert "do not belong here" in check().stderr
    (folder / "wheels" / "extra.whl").unlink()
    with (folder / "modules" / "firmware" / "cli.py").open("a") as file:
        file.write("\n")
    refused = check()
    assert refused.returncode == 1 and "was altered" in refused.stderr
