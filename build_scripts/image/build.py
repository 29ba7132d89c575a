"""One image from lock files: packages, root, initramfs, disk, manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from build_scripts import debian, tools
from build_scripts.boards import Board, Flavour
from build_scripts.image import disk, initramfs, product, raspberry_pi
from build_scripts.image import root as roots
from build_scripts.keys import Keys
from firmware import __version__

CACHE = product.ROOT / "build" / "cache"
IMAGES = product.ROOT / "build" / "image"


def build(
    board: Board,
    flavour: Flavour,
    keys: Keys,
    *,
    version: str = __version__,
    out: Path | None = None,
    cache: Path = CACHE,
) -> Path:
    """Build an image and return its manifest's path.

    Args:
        out: folder for it; `build/image/<board>` when not given.
        cache: folder of downloaded and installed packages.

    Raises:
        BuildError: a tool, a package or a model is missing, or a step fails.
    """
    tools.require("mksquashfs", "veritysetup", "sfdisk", "mke2fs", "depmod", "readelf", "dpkg-deb")
    out = (out or IMAGES / board.name).absolute()
    work = out.with_name(f".{out.name}.work")
    for folder in (work, out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    tools.seconds.clear()
    with tools.step("packages", "Debian's, as locked"):
        archive = roots.base(board, cache)
        kernel = unpack_kernel(board, cache)
    with tools.step("root", f"{flavour} root file system"):
        root = work / "root"
        roots.build(board, flavour, keys, archive=archive, kernel=kernel, root=root, cache=cache)
    with tools.step("initramfs", "what starts it"):
        (out / "initrd").write_bytes(initramfs.build(board, keys, root=root, kernel=kernel))
        shutil.copyfile(next((kernel / "boot").glob("vmlinuz-*")), out / "vmlinuz")
    with tools.step("squashfs", "packed, hashed and signed"):
        image = out / "root.img"
        disk.squash(root, image)
        disk.seal(image, board, version, keys)
    with tools.step("disk", "partitions"):
        places = disk.write(
            out / "disk.img",
            [
                *_boot(board, kernel, out / "initrd", cache, work),
                disk.Partition("slots", 1),
                disk.Partition("root_a", disk.ROOT_MIB, image),
                disk.Partition("root_b", disk.ROOT_MIB),
                disk.writable("identity", 8, work / "identity.img"),
                disk.writable("models", 256, work / "models.img"),
            ],
        )
    shutil.rmtree(work)
    return _manifest(board, flavour, version, out, places)


def _boot(
    board: Board, kernel: Path, initrd: Path, cache: Path, work: Path
) -> list[disk.Partition]:
    if not board.device_trees:
        return []
    firmware, folder = work / "firmware", work / "boot"
    folder.mkdir()
    locked = debian.Lock.load(debian.lock_path(board.architecture))
    package = next(each for each in locked.packages if each.name == debian.FIRMWARE)
    tools.run(["dpkg-deb", "--extract", cache / "debs" / package.sha256, firmware])
    raspberry_pi.lay(board, kernel=kernel, firmware=firmware, initrd=initrd, folder=folder)
    return [disk.boot(folder, work / "boot.img", raspberry_pi.MIB)]


def unpack_kernel(board: Board, cache: Path) -> Path:
    """The kernel's package, unpacked once."""
    locked = debian.Lock.load(debian.lock_path(board.architecture))
    package = next(package for package in locked.packages if package.kernel)
    folder = cache / f"kernel-{package.sha256[:16]}"
    if not folder.exists():
        draft = folder.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        tools.run(["dpkg-deb", "--extract", cache / "debs" / package.sha256, draft])
        if not (draft / "lib").exists():  # where depmod looks
            (draft / "lib").symlink_to("usr/lib")
        modules = next((draft / "usr" / "lib" / "modules").iterdir())
        tools.run(["depmod", "-b", draft, modules.name])
        draft.rename(folder)
    return folder


def _manifest(
    board: Board, flavour: Flavour, version: str, out: Path, places: list[dict[str, int | str]]
) -> Path:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": disk.digest(path)}
        for path in sorted(out.iterdir())
    }
    manifest = {
        "board": board.name,
        "architecture": board.architecture,
        "flavour": flavour,
        "version": version,
        "compatible": board.compatible,
        "disk": "disk.img",
        "kernel": "vmlinuz",
        "initramfs": "initrd",
        "root": "root.img",
        "command_line": board.command_line(),
        "console": board.console,
        "qemu": list(board.qemu),
        "packages": debian.Lock.load(debian.lock_path(board.architecture)).digest,
        "files": files,
        "partitions": places,
        "seconds": tools.seconds,
    }
    path = out / "manifest.json"
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    return path
