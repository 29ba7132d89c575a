"""The initramfs: busybox, dmsetup, signify, the kernel's modules and `init`; no other code."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import stat
from pathlib import Path

from build_scripts import tools
from build_scripts.boards import Board
from build_scripts.image import product
from build_scripts.image import root as roots
from build_scripts.keys import Keys

HERE = Path(__file__).parent
_APPLETS = [
    "blockdev",
    "cat",
    "chmod",
    "cut",
    "dd",
    "echo",
    "grep",
    "insmod",
    "mkdir",
    "mount",
    "od",
    "printf",
    "reboot",
    "rm",
    "sed",
    "sh",
    "sha256sum",
    "sleep",
    "switch_root",
    "tr",
    "umount",
]
_PROGRAMS = ("usr/sbin/dmsetup", "usr/bin/signify-openbsd")


def build(board: Board, keys: Keys, *, root: Path, kernel: Path) -> bytes:
    """The compressed archive.

    Args:
        root: the root file system, where programs and libraries are taken from.
        kernel: the unpacked kernel package.
    """
    files: dict[str, tuple[int, bytes]] = {}

    def put(name: str, content: bytes, mode: int = stat.S_IFREG | 0o755) -> None:
        for folder in reversed(Path(name).parents[:-1]):
            files.setdefault(str(folder), (stat.S_IFDIR | 0o755, b""))
        files[name] = (mode, content)

    put("init", (HERE / "init").read_bytes())
    slots = HERE / "overlay" / "common" / product.PLACE / "libexec" / "slots"
    put("bin/slots", slots.read_bytes().replace(b"#!/bin/sh", b"#!/bin/busybox sh", 1))
    put("key.pub", keys.public().encode())
    put("compatible", f"{board.compatible}\n".encode())
    put("bin/busybox", (root / "usr" / "bin" / "busybox").read_bytes())
    for applet in _APPLETS:
        put(f"bin/{applet}", b"busybox", stat.S_IFLNK | 0o777)
    for program in _PROGRAMS:
        name = program.rpartition("/")[2].removesuffix("-openbsd")
        put(f"bin/{name}", (root / program).read_bytes())
        for path, content in libraries(root, root / program).items():
            put(path, content)
    modules = next((kernel / "usr" / "lib" / "modules").iterdir())
    order = []
    for path in roots.closure(modules, board.boot_modules):
        name = path.rpartition("/")[2].removesuffix(".xz")
        put(f"lib/modules/{name}", _unpacked(modules / path))
        order.append(name)
    put("lib/modules/order", "\n".join((*order, "")).encode())
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", 6, packed, mtime=0) as file:
        file.write(cpio(files))
    return packed.getvalue()


def libraries(root: Path, program: Path) -> dict[str, bytes]:
    """The interpreter and the libraries that a program needs, by their place in the initramfs."""
    found: dict[str, bytes] = {}
    waiting = [program]
    while waiting:
        said = tools.run(["readelf", "-W", "-l", "-d", waiting.pop()])
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", said)
        for wanted in (*needed, *re.findall(r"interpreter: (\S+)\]", said)):
            name = wanted.rpartition("/")[2]
            path = _library(root, name)
            place = wanted.lstrip("/") if wanted.startswith("/") else f"lib/{name}"
            if name.startswith("ld-linux") and not wanted.startswith("/"):
                continue
            if place not in found:
                found[place] = path.read_bytes()
                waiting.append(path)
    return found


def _library(root: Path, name: str) -> Path:
    places = [*(root / "usr" / "lib").glob(f"*-linux-gnu/{name}"), root / "usr" / "lib64" / name]
    found = next(path for path in (*places, root / "usr" / "lib" / name) if path.exists())
    return root / "usr" / found.resolve().relative_to(root.resolve() / "usr")


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A `newc` archive (as the kernel unpacks it) of path → (mode, content), owned by root."""
    packed = bytearray()

    def pad() -> None:
        packed.extend(bytes(-len(packed) % 4))

    for number, (name, (mode, content)) in enumerate(
        [*sorted(files.items()), ("TRAILER!!!", (0, b""))], 1
    ):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        packed += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        pad()
        packed += content
        pad()
    return bytes(packed)
