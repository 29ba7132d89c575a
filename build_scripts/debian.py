"""Debian packages by lock file: each by name, version and SHA-256, from any mirror, in any year.

`lock` asks apt what a list of packages needs today and writes it down; `fetch` brings exactly that.
What a mirror no longer has comes from the archive of all Debian packages, as of the lock's day.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build_scripts import tools
from build_scripts.errors import BuildError

SUITE = "trixie"
MIRROR = "http://deb.debian.org"
SNAPSHOT = "http://snapshot.debian.org/archive"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SOURCES = (
    f"debian {SUITE} main non-free-firmware",
    f"debian-security {SUITE}-security main",
)
LOCKS = Path(__file__).parent / "image" / "locks"
FIRMWARE = "raspi-firmware"
"""What starts a Raspberry Pi before its kernel."""


@dataclass(frozen=True)
class Package:
    """One locked package.

    Attributes:
        path: below the mirror, such as `debian/pool/main/z/zlib/zlib1g_1.3_amd64.deb`.
    """

    path: str
    sha256: str

    @property
    def file(self) -> str:
        return urllib.parse.unquote(self.path.rpartition("/")[2])

    @property
    def name(self) -> str:
        return self.file.partition("_")[0]

    @property
    def kernel(self) -> bool:
        return self.name.startswith("linux-image-")

    @property
    def unpacked(self) -> bool:
        """Kernels and boot loaders are never installed: they would make an initramfs of their own,
        and write it to /boot."""
        return self.kernel or self.name == FIRMWARE

    @property
    def version(self) -> str:
        return urllib.parse.unquote(self.file.split("_")[1])


@dataclass(frozen=True)
class Lock:
    day: str
    packages: tuple[Package, ...]
    digest: str
    """SHA-256 of the lock file: what caches are named by."""

    @classmethod
    def load(cls, path: Path) -> Lock:
        """Read a lock file.

        Raises:
            BuildError: it is missing or damaged.
        """
        try:
            content = path.read_bytes()
            lines = content.decode("ascii").splitlines()
            day = lines[0].removeprefix("# resolved ")
            datetime.datetime.strptime(day, "%Y%m%dT%H%M%SZ")
            packages = tuple(_package(line) for line in lines[1:])
        except (OSError, ValueError, IndexError) as error:
            raise BuildError(
                f"package lock {path} cannot be used ({type(error).__name__})",
                remedy="write it again: python -m build_scripts lock",
            ) from error
        return cls(day, packages, hashlib.sha256(content).hexdigest())


def lock_path(architecture: str) -> Path:
    return LOCKS / f"{SUITE}-{architecture}.lock"


def lock(architecture: str, wanted: Sequence[str], kernel: str, unpacked: Sequence[str]) -> Lock:
    """Resolve packages as of today and write the lock file.

    Args:
        wanted: beside the essential packages; what these depend on comes with them.
        kernel: the package that names the newest kernel; its own dependencies do not come.
        unpacked: packages besides that come without their dependencies.

    Raises:
        BuildError: apt is not there, does not reach the mirror, or knows no such package.
    """
    tools.require("apt-get")
    with tempfile.TemporaryDirectory(prefix="flow-lock-") as folder:
        place = Path(folder)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (place / part).mkdir(parents=True)
        (place / "state" / "status").touch()
        (place / "sources.list").write_text(
            "".join(f"deb [signed-by={_KEYRING}] {MIRROR}/{line}\n" for line in _SOURCES)
        )
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::ForceHash": "SHA256",
            "Dir::Etc::sourcelist": f"{place}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": f"{place}/state",
            "Dir::State::status": f"{place}/state/status",
            "Dir::Cache": f"{place}/cache",
        }
        (place / "apt.conf").write_text("".join(f'{k} "{v}";\n' for k, v in settings.items()))
        apt = {"APT_CONFIG": f"{place}/apt.conf"}
        tools.run(["apt-get", "update"], env=apt)
        day = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}"
        said = tools.run(
            ["apt-get", "install", "--yes", "--print-uris", "?essential", *wanted], env=apt
        )
        depends = tools.run(["apt-cache", "depends", kernel], env=apt)
        image = re.findall(r"Depends: (linux-image-\S+)", depends)
        said += tools.run(["apt-get", "download", "--print-uris", *image[:1], *unpacked], env=apt)
    found = []
    for line in said.splitlines():
        if line.startswith("'"):
            url, _, _, digest = line.split()
            found.append(
                f"{digest.removeprefix('SHA256:')} {url.strip(chr(39))[len(MIRROR) + 1 :]}"
            )
    path = lock_path(architecture)
    path.parent.mkdir(parents=True, exist_ok=True)
    by_name = sorted(found, key=lambda line: line.rpartition("/")[2])
    path.write_text("\n".join((f"# resolved {day}", *by_name, "")))
    return Lock.load(path)


def fetch(locked: Lock, folder: Path) -> None:
    """Bring every package into a folder, unless it is there, and check its digest.

    Raises:
        BuildError: one cannot be had, or is another one than was locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, package in enumerate(locked.packages, 1):
        path = folder / package.sha256
        if not path.exists():
            if sys.stderr.isatty():
                print(
                    f"\r  {number}/{len(locked.packages)} {package.name:<50}",
                    end="\r",
                    file=sys.stderr,
                )
            content = _download(package, locked.day)
            draft = path.with_suffix(".new")
            draft.write_bytes(content)
            draft.replace(path)


def _download(package: Package, day: str) -> bytes:
    archive, _, path = package.path.partition("/")
    problem = ""
    for url in (f"{MIRROR}/{package.path}", f"{SNAPSHOT}/{archive}/{day}/{path}"):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - fixed scheme
                content = bytes(answer.read())
        except OSError as error:
            problem = problem or str(error)
            continue
        if hashlib.sha256(content).hexdigest() == package.sha256:
            return content
        problem = "its digest is another one"
    raise BuildError(
        f"package {package.file} cannot be had ({problem})",
        remedy="check the network; a package that is gone everywhere needs a new lock "
        "(python -m build_scripts lock)",
    )


def index(locked: Lock, folder: Path, repository: Path) -> None:
    """Make a folder that apt takes for a repository of exactly these packages."""
    repository.mkdir(parents=True, exist_ok=True)
    entries = []
    for package in locked.packages:
        if package.unpacked:
            continue
        link = repository / package.file
        if not link.exists():
            link.hardlink_to(folder / package.sha256)
        control = tools.run(["dpkg-deb", "--field", link]).rstrip("\n")
        size = link.stat().st_size
        entries.append(
            f"{control}\nFilename: ./{package.file}\nSize: {size}\nSHA256: {package.sha256}\n"
        )
    content = "\n".join(entries)
    (repository / "Packages").write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    (repository / "Release").write_text(
        f"Suite: {SUITE}\nCodename: {SUITE}\nComponents: main\n"
        f"SHA256:\n {digest} {len(content.encode())} Packages\n"
    )


def _package(line: str) -> Package:
    digest, path = line.split()
    if len(digest) != 64 or not path.endswith(".deb"):
        raise ValueError(line)
    return Package(path, digest)
