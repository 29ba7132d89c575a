"""What lies on the disk: a signed, read-only root with its hash tree, and the partition table."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from build_scripts import tools
from build_scripts.boards import Board
from build_scripts.errors import BuildError
from build_scripts.keys import Keys

MIB = 1 << 20
BLOCK = 4096
ROOT_MIB = 448
_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_WRITABLE = ("identity", "models")
_FAT = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
_UUID = "464c4f57-0000-4000-8000-0000000000{:02x}"  # "FLOW"


@dataclass(frozen=True)
class Partition:
    name: str
    mib: int
    content: Path | None = None
    kind: str = _LINUX


def squash(root: Path, image: Path) -> None:
    """Pack a root file system; the same files give the same bytes."""
    image.unlink(missing_ok=True)
    tools.run(
        [
            *("mksquashfs", root, image, "-comp", "zstd", "-Xcompression-level", "9"),
            *("-b", "128K", "-noappend", "-no-progress", "-no-exports", "-quiet"),
        ],
        env={"SOURCE_DATE_EPOCH": str(tools.EPOCH)},
    )


def seal(image: Path, board: Board, version: str, keys: Keys) -> None:
    """Append the signed header and the hash tree to a packed root file system.

    The layout is squashfs, padded to whole blocks of 4 KiB; one block with the header: lines of
    text, `--`, and a signature over these lines; the dm-verity tree.

    Raises:
        BuildError: it is too large for its slot.
    """
    blocks = -(-image.stat().st_size // BLOCK)
    os.truncate(image, (blocks + 1) * BLOCK)
    salt = hashlib.sha256(f"{board.compatible} {version}".encode()).hexdigest()
    said = tools.run(
        [
            *("veritysetup", "format", "--no-superblock", "--hash=sha256", f"--salt={salt}"),
            *(f"--data-block-size={BLOCK}", f"--hash-block-size={BLOCK}"),
            *(f"--data-blocks={blocks}", f"--hash-offset={(blocks + 1) * BLOCK}", image, image),
        ]
    )
    found = re.search(r"Root hash:\s*([0-9a-f]{64})", said)
    if not found:
        raise BuildError("veritysetup names no root hash", remedy="look at what it prints")
    text = (
        f"flow-root 1\nblocks {blocks}\nsalt {salt}\nroot {found[1]}\n"
        f"version {version}\ncompatible {board.compatible}\n"
    )
    header = f"{text}--\n{keys.sign(text.encode())}".encode()
    with image.open("r+b") as file:
        file.seek(blocks * BLOCK)
        file.write(header)
    if image.stat().st_size > ROOT_MIB * MIB:
        raise BuildError(
            f"the root file system has {image.stat().st_size // MIB} MiB, its slot {ROOT_MIB}",
            remedy="leave packages or modules out",
        )


def header(image: Path) -> dict[str, str]:
    """What the signed lines behind a packed root file system say; nothing is checked here."""
    with image.open("rb") as file:
        file.seek(40)
        blocks = -(-int.from_bytes(file.read(8), "little") // BLOCK)  # squashfs: bytes_used
        file.seek(blocks * BLOCK)
        text = file.read(BLOCK).partition(b"--\n")[0].decode("ascii")
    words = (line.partition(" ") for line in text.splitlines())
    return {name: value for name, _, value in words}


def writable(name: str, mib: int, path: Path) -> Partition:
    """An empty partition that the device fills: `identity`, or `models` for sets of models."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(mib * MIB)
    number = _WRITABLE.index(name)
    uuid, seed = _UUID.format(0xE0 + 2 * number), _UUID.format(0xE1 + 2 * number)
    tools.run(
        [
            *("mke2fs", "-q", "-t", "ext4", "-L", name, "-U", uuid, "-m", "0", "-N", "256"),
            *("-O", "^metadata_csum_seed,^orphan_file,^resize_inode", "-J", "size=1"),
            *("-E", f"hash_seed={seed},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"),
            path,
        ]
    )
    return Partition(name, mib, path)


def boot(folder: Path, image: Path, mib: int) -> Partition:
    """The FAT partition that a board's firmware reads, with the files of a folder."""
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    tools.run(["mkfs.vfat", "--invariant", "-F", "32", "-n", "FLOWBOOT", image])
    for path in sorted(folder.rglob("*")):
        os.utime(path, (tools.EPOCH, tools.EPOCH))
    names = sorted(folder.iterdir())
    tools.run(["mcopy", "-i", image, "-s", "-m", *names, "::"], env={"MTOOLS_SKIP_CHECK": "1"})
    return Partition("boot", mib, image, _FAT)


def write(disk: Path, partitions: list[Partition]) -> list[dict[str, int | str]]:
    """Write a sparse disk with a GPT; returns name, first byte and size of each partition."""
    disk.unlink(missing_ok=True)
    total = sum(partition.mib for partition in partitions) + 2
    with disk.open("wb") as file:
        file.truncate(total * MIB)
    table = [f"label: gpt\nlabel-id: {_UUID.format(0)}\nfirst-lba: 2048\n"]
    for number, partition in enumerate(partitions, 1):
        table.append(
            f"size={partition.mib}MiB, type={partition.kind}, name={partition.name}, "
            f"uuid={_UUID.format(number)}\n"
        )
    tools.run(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk],
        stdin="".join(table).encode(),
    )
    listed = json.loads(tools.run(["sfdisk", "--json", disk]))["partitiontable"]["partitions"]
    for partition, place in zip(partitions, listed, strict=True):
        if partition.content:
            _copy_sparse(partition.content, disk, place["start"] * 512)
    return [
        {"name": place["name"], "start": place["start"] * 512, "bytes": place["size"] * 512}
        for place in listed
    ]


def _copy_sparse(source: Path, disk: Path, at: int) -> None:
    with source.open("rb") as file, disk.open("r+b") as target:
        while chunk := file.read(MIB):
            if chunk.strip(b"\0"):
                target.seek(at)
                target.write(chunk)
            at += len(chunk)


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(MIB):
            found.update(chunk)
    return found.hexdigest()
