"""Decides about one asked-for update: refuse it, or fetch, install and start into it.

Whether the bundle is genuine and made for this board RAUC checks by its signature, whoever asked
and wherever it came from. What is checked here besides: never an older version, never one that
was tried and did not prove itself, and the digest of what was fetched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firmware import messages
from firmware.errors import UpdateError
from firmware.update import download, version
from firmware.update.voice import Voice

INSTALL_S = 1800


@dataclass(frozen=True)
class Places:
    """Where the device keeps what an update needs.

    Attributes:
        slot: made by the initramfs: `name`, `version`, and `trial` while it is not committed.
        folder: in RAM, for the bundle while it is fetched and installed.
        tried: digest of the last bundle that was started; on the identity partition.
        rauc: the program.
        reboot: starts the system again, in order.
    """

    slot: Path = Path("/run/flow-slot")
    folder: Path = Path("/run/flow-update")
    tried: Path = Path("/var/lib/flow-sensor/update-tried")
    trust: Path = Path("/var/lib/flow-sensor/update-roots.pem")
    rauc: tuple[str, ...] = ("rauc",)
    reboot: tuple[str, ...] = ("systemctl", "reboot")


class Update:
    """One run.

    Args:
        start: what was asked for.
        tell: says to the supervisor how far it is.
    """

    def __init__(
        self,
        start: messages.StartUpdate,
        tell: Callable[[messages.UpdateState], None],
        places: Places,
    ) -> None:
        self.asked = start
        self.places = places
        self._voice = Voice(tell, start.version)

    def run(self) -> None:
        """Do it, and say how it ended.

        Raises:
            UpdateError: why not; the device stays as it is.
        """
        running = self._running()
        wanted = version.parse(self.asked.version)
        if self.asked.version == running:
            self._voice.say("trial" if (self.places.slot / "trial").exists() else "committed")
            return
        if self._tried() == self.asked.sha256:
            raise UpdateError(
                f"version {self.asked.version} was started and did not prove itself",
                remedy="look at the device's health records, then offer another bundle",
            )
        _newer(wanted, running)
        if (self.places.slot / "trial").exists():
            raise UpdateError(
                f"version {running} has not proven itself yet", remedy="ask again when it has"
            )
        bundle = self.places.folder / f"{self.asked.sha256}.raucb"
        self._clear_but(bundle)
        trust = self.places.trust
        download.fetch(
            self.asked.url,
            self.asked.sha256,
            bundle,
            progress=self._voice.progress,
            trust=str(trust) if trust.exists() else "",
        )
        self._voice.say("installing")
        self._check_manifest(bundle, running)
        self._rauc("install", str(bundle))
        bundle.unlink()
        _keep(self.places.tried, self.asked.sha256)
        self._voice.say("restarting")
        self._command(self.places.reboot)

    def _running(self) -> str:
        try:
            return (self.places.slot / "version").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UpdateError(
                "this device has no slots to be updated in",
                remedy="install a new version as the old one was installed (docs/image.md)",
            ) from error

    def _tried(self) -> str:
        try:
            return self.places.tried.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _clear_but(self, bundle: Path) -> None:
        """Room for this bundle: what was fetched of another one is of no more use."""
        self.places.folder.mkdir(parents=True, exist_ok=True)
        for path in self.places.folder.iterdir():
            if path != bundle:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _check_manifest(self, bundle: Path, running: str) -> None:
        """The signed manifest has the last word on the version, not whoever asked."""
        said = self._rauc("info", "--output-format=json", str(bundle))
        try:
            offered = str(json.loads(said)["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise UpdateError("the bundle names no version", remedy="build it again") from error
        _newer(version.parse(offered), running)
        if offered != self.asked.version:
            raise UpdateError(
                f"the bundle holds version {offered}, not {self.asked.version}",
                remedy="ask for the version that the bundle holds",
            )

    def _rauc(self, *arguments: str) -> str:
        return self._command((*self.places.rauc, *arguments))

    def _command(self, command: tuple[str, ...]) -> str:
        name = " ".join(command[:2])
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=INSTALL_S, text=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise UpdateError(
                f"{name} does not work here ({type(error).__name__})",
                remedy="flash the device again",
            ) from error
        if done.returncode:
            raise UpdateError(_refusal(done.stderr + done.stdout), remedy="offer another bundle")
        return done.stdout


def _newer(offered: tuple[int, int, int], running: str) -> None:
    if offered <= version.parse(running):
        raise UpdateError(
            f"version {'.'.join(map(str, offered))} is not newer than {running}, which runs here",
            remedy="offer a newer version: to go back is refused, since it would bring back what "
            "was mended",
        )


def _refusal(said: str) -> str:
    """RAUC's reason, in words of our own: its text may hold paths and addresses."""
    lower = said.lower()
    for sign, reason in (
        ("compatible mismatch", "the bundle was made for another board"),
        (
            "signature verification failed",
            "the bundle's signature is not one that this device trusts",
        ),
        ("certificate verify error", "the bundle's signature is not one that this device trusts"),
        ("verity", "the bundle was altered"),
        ("no space", "the bundle is larger than its slot"),
    ):
        if sign in lower:
            return reason
    return "the bundle cannot be installed"


def _keep(path: Path, digest: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    try:
        with draft.open("w", encoding="ascii") as file:
            file.write(f"{digest}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise UpdateError(
            f"{path} cannot be written ({error.strerror})",
            remedy="check the identity partition: is it full or read-only?",
        ) from error
