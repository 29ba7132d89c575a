"""An update bundle: a new root file system, signed, for one board; RAUC's verity format."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from build_scripts import tools
from build_scripts.errors import BuildError
from build_scripts.image import disk
from build_scripts.keys import Keys
from firmware.errors import UpdateError
from firmware.update import version


def build(image: Path, keys: Keys, out: Path | None = None) -> Path:
    """Sign the root file system of a built image into a bundle.

    Args:
        image: folder with its `manifest.json`.
        out: the bundle; `<image>/update-<version>.raucb` when not given.

    Raises:
        BuildError: there is no image, its version has no order, or RAUC fails.
    """
    about = manifest(image)
    root = image / str(about["root"])
    out = out or image / f"update-{about['version']}.raucb"
    pack(root, about["version"], about["compatible"], keys, out)
    return out


def manifest(image: Path) -> dict[str, Any]:
    """What a built image says of itself; its root file system is what was built.

    Raises:
        BuildError: there is no image, its version has no order, or it was altered.
    """
    try:
        about: dict[str, Any] = json.loads((image / "manifest.json").read_text())
        root = image / str(about["root"])
        version.parse(about["version"])
    except (OSError, ValueError, KeyError, UpdateError) as error:
        raise BuildError(
            f"{image} holds no image to make an update of ({type(error).__name__})",
            remedy="build one: python -m build_scripts image … --version 1.2.3",
        ) from error
    if disk.digest(root) != about["files"][root.name]["sha256"]:
        raise BuildError(f"{root} is not what was built", remedy="build the image again")
    return about


def pack(root: Path, named: str, compatible: str, keys: Keys, out: Path) -> None:
    """Sign one root file system into a bundle.

    Args:
        named: its version.
        compatible: the boards that it is for.

    Raises:
        BuildError: RAUC is missing or fails.
    """
    tools.require("rauc", "mksquashfs")
    out.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="flow-update-", dir=out.parent) as folder:
        content = Path(folder) / "content"
        content.mkdir()
        try:
            (content / root.name).hardlink_to(root)
        except OSError:
            shutil.copyfile(root, content / root.name)
        (content / "manifest.raucm").write_text(
            f"[update]\ncompatible={compatible}\nversion={named}\n\n"
            f"[bundle]\nformat=verity\n\n[image.rootfs]\nfilename={root.name}\n"
        )
        signer = (f"--cert={keys.update_certificate}", f"--key={keys.update_key}")
        packing = "--mksquashfs-args=-comp zstd -noD -no-progress"
        tools.run(["rauc", "bundle", *signer, packing, content, out])
