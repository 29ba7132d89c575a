"""The product as it lies on a device: packages by lock file, modules, libraries, models.

Nothing of the device's architecture runs here: wheels are unpacked, C is compiled across.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.markers import Marker

from build_scripts import tools
from build_scripts.errors import BuildError
from firmware.vision import models, native

ROOT = Path(__file__).parents[2]
PLACE = Path("opt/flow-sensor")
PYTHON = "3.13"
"""Python of the image."""
_BUILD_ONLY = ("setuptools", "wheel", "pip")


def requirements(text: str, machine: str, python: str = PYTHON) -> str:
    """The lines of a universal lock file that hold for a device, with their hashes.

    Args:
        text: a requirements file as `make lock` writes it.
        machine: `x86_64` or `aarch64`.
        python: the device's.
    """
    about = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
    }
    kept = []
    for requirement in _joined(text):
        head, *hashes = requirement.split(" --hash=")
        name, _, marker = head.partition(" ; ")
        wanted = not marker or Marker(marker).evaluate(about)
        if wanted and name.partition("==")[0].strip() not in _BUILD_ONLY:
            kept.append(" \\\n    --hash=".join((name.strip(), *map(str.strip, hashes))))
    return "\n".join((*kept, ""))


def _joined(text: str) -> Iterator[str]:
    """Requirements, one string each: continuation lines joined, comments left out."""
    line = ""
    for part in text.splitlines():
        if part.lstrip().startswith("#"):
            continue
        line += part.removesuffix("\\")
        if line.strip() and not part.endswith("\\"):
            yield " ".join(line.split())
            line = ""


def platforms(machine: str, python: str = PYTHON) -> list[str]:
    """pip's options that choose wheels for the device."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in (34, 31, 28, 27, 24, 17)]
    tags += [f"manylinux2014_{machine}", f"linux_{machine}"]
    options = [f"--platform={tag}" for tag in tags]
    options += [f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")]
    return [*options, f"--python-version={python}", "--implementation=cp", "--only-binary=:all:"]


def wheels(machine: str, cache: Path, python: str = PYTHON) -> list[Path]:
    """The locked packages for a device, as wheels; downloaded once for each lock file.

    Raises:
        BuildError: one cannot be had, or is another one than was locked.
    """
    wanted = requirements((ROOT / "requirements" / "pi.txt").read_text(), machine, python)
    name = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    folder = cache / f"wheels-{machine}-py{python}-{name}"
    if not folder.exists():
        draft = folder.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        (draft / "requirements.txt").write_text(wanted)
        tools.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--require-hashes", "--disable-pip-version-check", *platforms(machine, python)),
                *("--dest", draft, "-r", draft / "requirements.txt"),
            ]
        )
        draft.rename(folder)
    return sorted(folder.glob("*.whl"))


def unpack(wheel: Path, packages: Path) -> None:
    """Lay a wheel's modules down; scripts and headers are of no use on a device."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if ".data/" not in name.partition("/")[0] + "/":
                archive.extract(name, packages)


def install(machine: str, root: Path, cache: Path, python: str = PYTHON) -> None:
    """Lay the product into a root file system.

    Args:
        machine: `x86_64` or `aarch64`.
        python: of that system, such as `3.13`.

    Raises:
        BuildError: a package cannot be had, or the models were not built.
    """
    place = root / PLACE
    packages = place / "lib" / f"python{python}" / "site-packages"
    packages.mkdir(parents=True)
    for wheel in wheels(machine, cache, python):
        unpack(wheel, packages)
    for tests in sorted(packages.rglob("tests")):
        shutil.rmtree(tests)
    copy_sources(packages)
    (place / "bin").mkdir(parents=True, exist_ok=True)
    (place / "bin" / "python").symlink_to(f"/usr/bin/python{python}")
    (place / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}.0\n"
    )
    compile_libraries(machine, place / "cache" / "native")
    copy_models(place / "cache" / "models")
    (place / "docs").mkdir(exist_ok=True)
    for page in ("image.md", "threat-model.md", "privacy-proof.md", "settings.md"):
        if (source := ROOT / "docs" / page).exists():
            shutil.copyfile(source, place / "docs" / page)


def copy_sources(packages: Path) -> None:
    """The device's own modules; what belongs to the operator's side stays away."""
    shutil.copytree(
        ROOT / "firmware", packages / "firmware", ignore=shutil.ignore_patterns("__pycache__")
    )


def compile_libraries(machine: str, folder: Path) -> None:
    """The C libraries of a wipe, for the device's processor."""
    compiler = "gcc" if machine == "x86_64" else "aarch64-linux-gnu-gcc"
    tools.require(compiler)
    folder.mkdir(parents=True)
    for name in native.NAMES:
        source = native.SOURCES / f"{name}.c"
        target = folder / native.file_name(source, machine)
        tools.run([compiler, *native.FLAGS, source.name, "-o", target], cwd=source.parent)


def copy_models(folder: Path) -> None:
    source = models.directory()
    try:
        named = [models.INDEX, *(model.file for model in models.index(source).models)]
        folder.mkdir(parents=True)
        for name in named:
            shutil.copyfile(source / name, folder / name)
    except Exception as error:
        raise BuildError(
            f"models cannot be taken from {source} ({type(error).__name__})",
            remedy="run `make models`",
        ) from error
