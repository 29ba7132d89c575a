"""Two builds from the same lock files, and whether every byte is the same."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from build_scripts.boards import Board, Flavour
from build_scripts.image import build, disk, product
from build_scripts.image import root as roots
from build_scripts.keys import Keys

PLACE = product.ROOT / "build" / "reproduce"


def twice(board: Board, flavour: Flavour, keys: Keys) -> dict[str, Any]:
    """Build as ever, and again elsewhere without caches: only the downloaded Debian packages, each
    of which is checked by its digest, are there already.

    Returns: figures for `build/reports/reproducible.json`; `files` maps each file's name to its
    size and to the SHA-256 that either build gave.

    Raises:
        BuildError: a build fails.
    """
    shutil.rmtree(PLACE, ignore_errors=True)
    bare = PLACE / "cache"
    bare.mkdir(parents=True)
    (build.CACHE / "debs").mkdir(parents=True, exist_ok=True)
    (bare / "debs").symlink_to(build.CACHE / "debs")
    made, seconds = [], []
    for name, cache in (("cached", build.CACHE), ("bare", bare)):
        began = time.monotonic()
        path = build.build(board, flavour, keys, out=PLACE / name, cache=cache)
        seconds.append(round(time.monotonic() - began))
        made.append(_digests(path, roots.base(board, cache)))
    first, second = made
    files = {
        name: {"bytes": size, "first": digest, "second": second.get(name, (0, ""))[1]}
        for name, (size, digest) in first.items()
    }
    return {
        "board": board.name,
        "architecture": board.architecture,
        "flavour": flavour,
        "identical": first == second,
        "files": files,
        "seconds": seconds,
    }


def _digests(manifest: Path, packages: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of all that a build made, of the archive of installed packages, and the root
    of the hash tree, which the header signs."""
    about = json.loads(manifest.read_text("utf-8"))
    root = manifest.with_name(about["root"])
    return {
        "packages.tar": (packages.stat().st_size, disk.digest(packages)),
        "verity root": (disk.BLOCK, disk.header(root)["root"]),
        **{name: (each["bytes"], each["sha256"]) for name, each in about["files"].items()},
    }
