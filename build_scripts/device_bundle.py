"""The quick way onto an existing system: wheels, models, units and an installer in one archive.

Made for one processor and one Python version; nothing is downloaded on the device, and the
installer checks every file's digest before it changes anything.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from build_scripts import tools
from build_scripts.image import product
from build_scripts.image import root as roots
from firmware import __version__

INSTALLER = Path(__file__).parent / "install.sh"
_OVERLAY = roots.HERE / "overlay" / "common"


def build(machine: str, python: str, cache: Path, out: Path) -> Path:
    """Write `flow-sensor-<version>-<machine>-py<python>.tar.gz` into a folder.

    Args:
        machine: `aarch64` or `x86_64`.
        python: the device's, such as `3.11`.

    Raises:
        BuildError: a package has no wheel for that device, or the models were not built.
    """
    name = f"flow-sensor-{__version__}-{machine}-py{python}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flow-bundle-") as scratch:
        folder = Path(scratch) / name
        with tools.step("wheels", f"for Python {python} on {machine}"):
            (folder / "wheels").mkdir(parents=True)
            for wheel in product.wheels(machine, cache, python):
                shutil.copyfile(wheel, folder / "wheels" / wheel.name)
            lock = (product.ROOT / "requirements" / "pi.txt").read_text()
            (folder / "requirements.txt").write_text(product.requirements(lock, machine, python))
        with tools.step("product", "modules, libraries, models, units"):
            product.copy_sources(folder / "modules")
            product.compile_libraries(machine, folder / "cache" / "native")
            product.copy_models(folder / "cache" / "models")
            shutil.copytree(roots.UNITS, folder / "units")
            for path in (
                "opt/flow-sensor/bin/flow-sensor",
                "opt/flow-sensor/libexec/setup",
                "usr/lib/sysusers.d/flow-sensor.conf",
            ):
                shutil.copyfile(_OVERLAY / path, folder / Path(path).name)
            shutil.copyfile(_OVERLAY / "etc/flow-sensor/sensor.toml", folder / "sensor.toml")
            shutil.copyfile(INSTALLER, folder / "install.sh")
            _sums(folder)
        with tools.step("archive", name):
            target = out / f"{name}.tar.gz"
            target.write_bytes(pack(folder))
    return target


def _sums(folder: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def pack(folder: Path) -> bytes:
    """An archive of a folder; the same files give the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 6, packed, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in (folder, *sorted(folder.rglob("*"))):
            about = archive.gettarinfo(path, str(path.relative_to(folder.parent)))
            about.uid = about.gid = 0
            about.uname = about.gname = "root"
            about.mtime = tools.EPOCH
            runs = path.suffix == ".sh" or os.access(path, os.X_OK)
            about.mode = 0o777 if about.issym() else 0o755 if runs else 0o644
            if about.isreg():
                with path.open("rb") as file:
                    archive.addfile(about, file)
            else:
                archive.addfile(about)
    return packed.getvalue()
