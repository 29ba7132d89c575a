"""Sets of models that came by themselves: two folders, one of them in use, each signed whole.

A set is a folder of converted models, with or without engines, and `set`: lines of text that name
its version, the firmware that it was tested with and the digest of every file, then a signature by
the release's key. Whoever loads from it checks all of that again: unlike the root it stands on a
partition that is written. It is used by no other firmware than its own, so that after an update of
the whole image the image's models hold until a set for it comes.

Which is in use stands in `in_use`, which is tried in `trial`, and that counts only while the
updater holds a lock on it: when the updater is killed, or the power is cut, the set that has proven
itself is loaded again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firmware import __version__, signify
from firmware.errors import EngineError
from firmware.event_log import log
from firmware.vision import models

PLACE = Path("/var/lib/flow-models")
RELEASE = Path("/etc/flow-sensor/release.pub")
"""The public half of the key that signs releases, as `signify` keeps it."""
HEADER = "set"
NAMES = ("a", "b")
MOST_FILES, MOST_BYTES = 64, 256 << 20

_FORM = "flow-models 1"
_END = b"--\n"
_VERSION = r"(?:0|[1-9]\d{0,5})(?:\.(?:0|[1-9]\d{0,5})){2}"
_LINES = re.compile(
    rf"{_FORM}\nversion ({_VERSION})\nfirmware (\S{{1,40}})\n((?:file [0-9a-f]{{64}} \S+\n)+)"
)
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class Header(NamedTuple):
    """What a set says of itself, once its signature was found good.

    Attributes:
        firmware: the only version that uses it.
        files: path below the set's folder → SHA-256, hexadecimal.
    """

    version: str
    firmware: str
    files: dict[str, str]


class Choice(NamedTuple):
    """Where models are loaded from; `version` of their set, or "" for those of the image."""

    folder: Path
    version: str


def text(version: str, files: dict[str, str]) -> bytes:
    """The lines of a header for this firmware: what is signed."""
    lines = [_FORM, f"version {version}", f"firmware {__version__}"]
    lines += [f"file {files[path]} {path}" for path in sorted(files)]
    return "\n".join((*lines, "")).encode("ascii")


def read(header: bytes, release: Path) -> Header:
    """Check a header's signature, its form, and that it was made for this firmware.

    Args:
        release: file with the release's public key.

    Raises:
        EngineError: it is not as it should be.
    """
    signed, _, signature = header.partition(_END)
    try:
        key = signify.read(release.read_bytes(), signify.KEY_BYTES)[signify.HEAD_BYTES :]
        made = signify.read(signature, signify.SIGNATURE_BYTES)[signify.HEAD_BYTES :]
        Ed25519PublicKey.from_public_bytes(key).verify(made, signed)
    except (OSError, ValueError, InvalidSignature) as error:
        raise EngineError(
            f"a set of models is not signed by this device's release ({type(error).__name__})",
            remedy="build it with the release's keys: python -m build_scripts models",
        ) from error
    found = _LINES.fullmatch(signed.decode("ascii", "replace"))
    rows = [line.split(" ") for line in found[3].splitlines()] if found else []
    files = {path: digest for _, digest, path in rows}
    if not found or len(files) != len(rows) or not all(map(_PATH.fullmatch, files)):
        raise EngineError("the header of a set of models is damaged", remedy="build the set again")
    if found[2] != __version__:
        raise EngineError(
            f"a set of models was made for firmware {found[2]}, not {__version__}",
            remedy="build one for the firmware that runs here",
        )
    return Header(found[1], found[2], files)


def verified(folder: Path, release: Path) -> Header:
    """Check a whole set: header, every file, and that there is no other.

    Raises:
        EngineError: something was altered, is missing, or does not belong there.
    """
    try:
        header = read((folder / HEADER).read_bytes(), release)
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        same = there == {HEADER, *header.files} and all(
            _digest(folder / path) == digest for path, digest in header.files.items()
        )
    except OSError as error:
        raise EngineError(
            f"a set of models cannot be read ({error.strerror})", remedy="offer it again"
        ) from error
    if not same:
        raise EngineError("a set of models was altered on this device", remedy="offer it again")
    return header


def chosen(directory: str, place: Path | None = None, release: Path | None = None) -> Choice:
    """The set on trial or in use, when it is whole; else the models of the image.

    Args:
        directory: setting `[models] directory`.
        place: folder of the two sets; this device's when not given, as with `release`.
    """
    place = place or PLACE
    if name := trial(place) or in_use(place):
        try:
            return Choice(place / name, verified(place / name, release or RELEASE).version)
        except EngineError:
            log("models_refused")
    return Choice(models.directory(directory), "")


def in_use(place: Path) -> str:
    """Name of the set that has proven itself; "" when there is none."""
    try:
        return _name((place / "in_use").read_bytes())
    except OSError:
        return ""


def trial(place: Path) -> str:
    """Name of the set that is tried; "" when none is."""
    try:
        with (place / "trial").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _name(file.read())
    except OSError:
        pass
    return ""


@contextmanager
def trying(place: Path, name: str) -> Iterator[None]:
    """While this runs, the set is on trial."""
    path = place / "trial"
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{name}\n".encode("ascii"))
        file.flush()
        try:
            yield
        finally:
            path.unlink()


def other(name: str) -> str:
    """The folder that a new set is written to."""
    return "b" if name == "a" else "a"


def keep(place: Path, name: str) -> None:
    """The set has proven itself."""
    write(place / "in_use", f"{name}\n".encode("ascii"))


def make(folder: Path) -> None:
    """A folder that vision, another user, may look into."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)


def write(path: Path, content: bytes) -> None:
    """All of it or nothing, also when the power goes; for vision to read."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _name(content: bytes) -> str:
    name = content.decode("ascii", "replace").removesuffix("\n")
    return name if name in NAMES else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
