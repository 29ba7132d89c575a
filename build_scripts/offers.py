"""What a rig offers a device: a good update, one that crashes, and those it has to refuse.

Only what is started is a whole system. What must be refused before holds a few blocks: nobody
looks at what is in it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from build_scripts import keys, tools, update
from build_scripts.boards import Board
from build_scripts.errors import BuildError
from build_scripts.image import disk, product
from firmware.update import version

INDEX = "offers.json"
_ENTRY = product.PLACE / "bin" / "flow-sensor"
_OLD = "0.0.1"
_CRASH = "#!/bin/sh\nexit 1\n"
_CONTENT = hashlib.shake_128(b"no system").digest(16 * disk.BLOCK)


def build(image: Path, board: Board, signer: keys.Keys) -> Path:
    """Make every bundle that a rig offers; returns the index in `<image>/offers`.

    The index is an object: name → file, its SHA-256, and the version that is asked for.

    Args:
        image: folder with the image that runs on the rig, of the flavour `rig`.

    Raises:
        BuildError: there is no image, or a tool fails.
    """
    tools.require("rauc", "mksquashfs", "unsquashfs", "veritysetup")
    about = update.manifest(image)
    running = version.parse(about["version"])
    folder = image / "offers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    made: dict[str, dict[str, str]] = {}

    def offer(name: str, root: Path, asked: str, compatible: str, by: keys.Keys) -> Path:
        bundle = folder / f"{name.replace(' ', '-').replace(',', '')}.raucb"
        update.pack(root, asked, compatible, by, bundle)
        made[name] = {"file": bundle.name, "version": asked}
        return bundle

    with tempfile.TemporaryDirectory(prefix="flow-offers-", dir=image) as name:
        work = Path(name)
        root = work / "root.img"
        with tools.step("good", "a newer version"):
            newer = _later(running, 1)
            _reseal(image / str(about["root"]), root, board, newer, signer)
            offer("good", root, newer, board.compatible, signer)
        with tools.step("crashing", "a version that ends as soon as it starts"):
            newer = _later(running, 2)
            _crashing(image / str(about["root"]), work / "system", root)
            disk.seal(root, board, newer, signer)
            offer("crashing", root, newer, board.compatible, signer)
        small = work / "small.img"
        small.write_bytes(_CONTENT)
        other = keys.development(work / "keys")
        offer("of another board", small, _later(running, 3), f"{board.compatible}-other", signer)
        offer("of a stranger", small, _later(running, 4), board.compatible, other)
        _alter(offer("altered", small, _later(running, 5), board.compatible, signer))
        offer("too old", small, _OLD, board.compatible, signer)
        offer("too old, called new", small, _OLD, board.compatible, signer)
        made["too old, called new"]["version"] = _later(running, 6)
    for each in made.values():
        each["sha256"] = disk.digest(folder / each["file"])
    index = folder / INDEX
    index.write_text(json.dumps(made, indent=1) + "\n")
    return index


def _later(running: tuple[int, int, int], by: int) -> str:
    return "{}.{}.{}".format(*running[:2], running[2] + by)


def _squashfs_bytes(root: Path) -> int:
    """Length of a root file system without the header and the hash tree behind it."""
    with root.open("rb") as file:
        file.seek(40)  # of the superblock: bytes_used, u64 little-endian
        used = int.from_bytes(file.read(8), "little")
    return -(-used // disk.BLOCK) * disk.BLOCK


def _reseal(root: Path, into: Path, board: Board, named: str, signer: keys.Keys) -> None:
    """The same system under another version."""
    with root.open("rb") as source, into.open("wb") as target:
        target.write(source.read(_squashfs_bytes(root)))
    disk.seal(into, board, named, signer)


def _crashing(root: Path, work: Path, into: Path) -> None:
    tools.run(["unsquashfs", "-quiet", "-no-progress", "-d", work, root])
    entry = work / _ENTRY
    if not entry.exists():
        raise BuildError(f"{root} holds no {_ENTRY}", remedy="build the image again")
    entry.write_text(_CRASH)
    disk.squash(work, into)
    shutil.rmtree(work)


def _alter(bundle: Path) -> None:
    """One bit of the content, which the signature covers through a tree of hashes."""
    with bundle.open("r+b") as file:
        content = file.read()
        at = content.index(_CONTENT[:64])
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))
