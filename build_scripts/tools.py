"""Other programs that a build runs, the Debian packages they come from, and the time they take."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from build_scripts.errors import BuildError

EPOCH = 1_760_000_000
"""The time that every file of an image bears; two builds on different days are the same."""

PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "apt-get": "apt",
    "cpio": "cpio",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "gcc": "gcc",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mksquashfs": "squashfs-tools",
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64-static": "qemu-user-static binfmt-support",
    "rauc": "rauc",
    "readelf": "binutils",
    "sfdisk": "fdisk",
    "systemd-analyze": "systemd",
    "tar": "tar",
    "unsquashfs": "squashfs-tools",
    "veritysetup": "cryptsetup-bin",
}

seconds: dict[str, float] = {}
"""What each finished step of this build took."""


def require(*names: str) -> None:
    """Look for programs.

    Raises:
        BuildError: names what to install for those that are missing.
    """
    missing = [name for name in names if not _find(name)]
    if missing:
        packages = sorted({package for name in missing for package in PACKAGES[name].split()})
        raise BuildError(
            f"not on this machine: {', '.join(missing)}",
            remedy=f"apt install --no-install-recommends {' '.join(packages)}",
        )


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> str:
    """Run a program in a fixed environment and return what it printed.

    Raises:
        BuildError: it is missing or fails; the problem holds the end of what it said.
    """
    name = str(command[0])
    try:
        done = subprocess.run(
            [_find(name) or name, *map(str, command[1:])],
            cwd=cwd,
            env={**_environment(), **(env or {})},
            input=stdin,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        require(*([name] if name in PACKAGES else []))
        raise BuildError(
            f"{name} does not start ({error.strerror})", remedy="install it"
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-800:]
        raise BuildError(f"{name} failed ({done.returncode}): {said}", remedy="see what it says")
    return done.stdout.decode(errors="replace")


@contextmanager
def step(name: str, what: str) -> Iterator[None]:
    """A step of a build: says what is done, and how long it took."""
    print(f"  {name:<10} {what}", file=sys.stderr, flush=True)
    began = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - began, 1)
    print(f"  {name:<10} {seconds[name]:6.1f} s", file=sys.stderr, flush=True)


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _environment() -> dict[str, str]:
    return {
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        "HOME": os.environ.get("HOME", "/root"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "E2FSPROGS_FAKE_TIME": str(EPOCH),
        "PYTHONHASHSEED": "0",
    }
