"""`python -m build_scripts`: from source to what is flashed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from build_scripts import boards, debian, keys
from build_scripts.errors import BuildError
from build_scripts.image import build as images
from build_scripts.image import product
from firmware import __version__

KEYS = product.ROOT / "build" / "keys"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except BuildError as error:
        print(f"build_scripts: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m build_scripts", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    image = commands.add_parser("image", help="a disk that boots and counts")
    image.add_argument("board", choices=("virt",))
    image.add_argument("--arch", default="arm64", choices=("arm64", "amd64"))
    image.add_argument("--flavour", default="production", choices=("production", "rig"))
    image.add_argument("--version", default=__version__, help="instead of the source's")
    image.add_argument("--out", type=Path, help="folder (build/image/BOARD)")
    _keys_option(image)
    image.set_defaults(command=_image)

    lock = commands.add_parser("lock", help="take today's Debian packages into the lock files")
    lock.set_defaults(command=_lock)
    return parser


def _keys_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keys", type=Path, metavar="DIR", help="the release's keys (development's own)"
    )


def _signing(options: argparse.Namespace) -> keys.Keys:
    return keys.load(options.keys) if options.keys else keys.development(KEYS)


def _image(options: argparse.Namespace) -> int:
    board = boards.board(options.board, options.arch)
    print(f"image: {board.name} {board.architecture} {options.flavour}", file=sys.stderr)
    path = images.build(
        board, options.flavour, _signing(options), version=options.version, out=options.out
    )
    manifest = json.loads(path.read_text())
    for name, about in manifest["files"].items():
        print(f"{name:<12} {about['bytes']:>12,}  {about['sha256'][:16]}")
    print(f"{path}: {sum(manifest['seconds'].values()):.0f} s")
    return 0


def _lock(options: argparse.Namespace) -> int:
    del options
    for architecture in ("amd64", "arm64"):
        board = boards.board("virt", architecture)
        locked = debian.lock(architecture, board.packages, board.kernel)
        print(f"{architecture}: {len(locked.packages)} packages, {locked.digest[:16]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
