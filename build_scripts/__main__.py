"""`python -m build_scripts`: from source to what is flashed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from build_scripts import (
    boards,
    debian,
    device_bundle,
    jetpack,
    keys,
    model_bundle,
    offers,
    sbom,
    signing,
    tools,
    update,
)
from build_scripts.errors import BuildError
from build_scripts.image import build as images
from build_scripts.image import disk, product, reproduce
from firmware import __version__
from firmware.vision import models
from hil import report

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
    image.add_argument("board", choices=boards.NAMES)
    _kind_options(image)
    image.add_argument("--version", default=__version__, help="instead of the source's")
    image.add_argument("--out", type=Path, help="folder (build/image/BOARD)")
    _keys_option(image)
    image.set_defaults(command=_image)

    again = commands.add_parser("reproduce", help="build an image twice and compare every byte")
    again.add_argument("board", choices=boards.NAMES)
    _kind_options(again)
    _keys_option(again)
    again.set_defaults(command=_reproduce)

    bundle = commands.add_parser("update", help="a signed bundle that updates devices to an image")
    bundle.add_argument("image", type=Path, help="folder of a built image")
    bundle.add_argument("--out", type=Path, help="the bundle (IMAGE/update-VERSION.raucb)")
    _keys_option(bundle)
    bundle.set_defaults(command=_update)

    offered = commands.add_parser("offers", help="bundles for a rig: good, crashing, to be refused")
    offered.add_argument("image", type=Path, help="folder of a built image of the flavour rig")
    _keys_option(offered)
    offered.set_defaults(command=_offers)

    _add_parts(commands)

    bill = commands.add_parser("sbom", help="bill of materials of an image (CycloneDX)")
    bill.add_argument("board", choices=boards.NAMES)
    bill.add_argument("--arch", default="arm64", choices=("arm64", "amd64"))
    bill.add_argument("--out", type=Path, help="file (build/sbom-BOARD-ARCH.json)")
    bill.set_defaults(command=_sbom)

    sign = commands.add_parser("sign", help="write a detached signature beside each file")
    sign.add_argument("files", nargs="+", type=Path)
    _keys_option(sign)
    sign.set_defaults(command=_sign)

    verify = commands.add_parser("verify", help="check detached signatures")
    verify.add_argument("files", nargs="+", type=Path)
    verify.add_argument("--key", type=Path, required=True, help="public key (signify's form)")
    verify.set_defaults(command=_verify)

    origin = commands.add_parser("provenance", help="signed statement of what an image is made of")
    origin.add_argument("image", type=Path, help="folder of a built image")
    _keys_option(origin)
    origin.set_defaults(command=_provenance)

    needed = commands.add_parser("tools", help="say what is not on this machine, and how to get it")
    needed.set_defaults(command=_tools)

    lock = commands.add_parser("lock", help="take today's Debian packages into the lock files")
    lock.set_defaults(command=_lock)
    return parser


def _add_parts(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What is put onto a system that is there already."""
    alone = commands.add_parser("models", help="a signed set of models, apart from the image")
    alone.add_argument("--version", required=True, help="of the set: three numbers")
    alone.add_argument("--source", type=Path, default=models.directory(), help="converted models")
    alone.add_argument("--engines", action="store_true", help="with the engines built of them")
    alone.add_argument("--out", type=Path, default=product.ROOT / "build" / "models")
    _keys_option(alone)
    alone.set_defaults(command=_models)

    device = commands.add_parser("bundle", help="an archive that installs onto an existing system")
    device.add_argument("--machine", default="aarch64", choices=("aarch64", "x86_64"))
    device.add_argument("--python", default="3.11", choices=("3.10", "3.11", "3.12", "3.13"))
    device.add_argument("--out", type=Path, default=product.ROOT / "build" / "bundle")
    device.set_defaults(command=_bundle)

    jetson = commands.add_parser("overlay", help="what is laid over a JetPack root file system")
    jetson.add_argument("--python", default="3.10", choices=("3.10", "3.12"))
    jetson.add_argument("--flavour", default="production", choices=("production", "rig"))
    jetson.add_argument("--out", type=Path, default=product.ROOT / "build" / "image" / "jetpack")
    jetson.set_defaults(command=_overlay)


def _kind_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", default="arm64", choices=("arm64", "amd64"))
    parser.add_argument("--flavour", default="production", choices=("production", "rig"))


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


def _reproduce(options: argparse.Namespace) -> int:
    board = boards.board(options.board, options.arch)
    figures = reproduce.twice(board, options.flavour, _signing(options))
    for name, each in figures["files"].items():
        same = "same" if each["first"] == each["second"] else f"OTHER {each['second'][:16]}"
        print(f"{name:<12} {each['bytes']:>12,}  {each['first'][:16]}  {same}")
    path = report.write("reproducible", figures)
    verdict = "identical" if figures["identical"] else "THEY DIFFER"
    print(
        f"two builds, {figures['seconds'][0]} s and {figures['seconds'][1]} s: {verdict} → {path}"
    )
    return 0 if figures["identical"] else 1


def _update(options: argparse.Namespace) -> int:
    path = update.build(options.image, _signing(options), options.out)
    print(f"{path}  {path.stat().st_size:,} bytes\nsha256 {disk.digest(path)}")
    return 0


def _offers(options: argparse.Namespace) -> int:
    about = update.manifest(options.image)
    board = boards.board(about["board"], about["architecture"])
    print(offers.build(options.image, board, _signing(options)))
    return 0


def _models(options: argparse.Namespace) -> int:
    path = model_bundle.build(
        options.source, options.version, _signing(options), options.out, engines=options.engines
    )
    print(f"{path}  {path.stat().st_size:,} bytes\nsha256 {disk.digest(path)}")
    return 0


def _bundle(options: argparse.Namespace) -> int:
    path = device_bundle.build(options.machine, options.python, images.CACHE, options.out)
    print(f"{path}  {path.stat().st_size:,} bytes\nsha256 {disk.digest(path)}")
    return 0


def _overlay(options: argparse.Namespace) -> int:
    path = jetpack.build(options.python, options.flavour, images.CACHE, options.out)
    print(f"{path}  {path.stat().st_size:,} bytes\nsha256 {disk.digest(path)}")
    return 0


def _sbom(options: argparse.Namespace) -> int:
    board = boards.board(options.board, options.arch)
    bill = sbom.document(board, images.CACHE)
    path = options.out or product.ROOT / "build" / f"sbom-{board.name}-{board.architecture}.json"
    path.write_text(json.dumps(bill, indent=1) + "\n")
    unnamed = sum(not part["licenses"] for part in bill["components"])
    print(f"{path}: {len(bill['components'])} components, {unnamed} without a named licence")
    return 0


def _sign(options: argparse.Namespace) -> int:
    for path in options.files:
        print(signing.sign(path, _signing(options)))
    return 0


def _verify(options: argparse.Namespace) -> int:
    for path in options.files:
        signing.verify(path, options.key.read_text())
        print(f"good: {path}")
    return 0


def _provenance(options: argparse.Namespace) -> int:
    print(signing.provenance(options.image, _signing(options)))
    return 0


def _tools(options: argparse.Namespace) -> int:
    del options
    tools.require(*tools.PACKAGES)
    return 0


def _lock(options: argparse.Namespace) -> int:
    del options
    for architecture, firmware in (("amd64", ()), ("arm64", (debian.FIRMWARE,))):
        board = boards.board("virt", architecture)
        locked = debian.lock(architecture, board.packages, board.kernel, firmware)
        print(f"{architecture}: {len(locked.packages)} packages, {locked.digest[:16]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
