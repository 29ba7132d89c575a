"""The supervisor's side of updates: what the twin asks for, how far it is, and is this one good?

An update is asked for by the desired property `update` or by the method of that name:
`{"url": "https://…", "sha256": "…", "version": "1.4.0"}`. The updater is a child like the others,
started for one request. It holds no envelope and needs none: it may end when it likes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from firmware import launcher, messages
from firmware.errors import ConfigError
from firmware.event_log import log
from firmware.ward import Starter

SLOT = Path("/run/flow-slot")
HEALTHY = Path("/run/flow-health/healthy")
"""Exists while everything works; `flow-commit.service` keeps a new slot for that."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    sha256: str
    version: str


def request(asked: Any) -> Request:
    """Check what the twin or a method says.

    Raises:
        ConfigError: it is not of the form above.
    """
    try:
        wanted = msgspec.convert(asked, Request)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"update: {str(error)[:120]}", remedy="give url, sha256 and version, all of them text"
        ) from error
    if not _DIGEST.fullmatch(wanted.sha256) or len(wanted.url) > 2048 or len(wanted.version) > 20:
        raise ConfigError(
            "update: sha256 is not 64 hexadecimal digits, or a text is too long",
            remedy="give what `python -m build_scripts bundle` printed",
        )
    return wanted


class Updates:
    """At most one update at a time; the newest request counts when it has ended.

    Args:
        start: how the updater is started.
        slot: folder in which the initramfs says which slot runs.
        healthy: file that says that everything works.
    """

    def __init__(self, start: Starter, *, slot: Path = SLOT, healthy: Path = HEALTHY) -> None:
        self.state: dict[str, Any] = {}
        self._start = start
        self._slot = slot
        self._healthy = healthy
        self._child: launcher.Child | None = None
        self._wanted: Request | None = None
        self._was_trial = (slot / "trial").exists()

    @property
    def installed(self) -> str:
        """Version of the image that runs; "" where there are no slots."""
        try:
            return (self._slot / "version").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def ask(self, asked: Any) -> None:
        """Raises ConfigError for what is no request."""
        self._wanted = request(asked)

    def take_from(self, patch: dict[str, Any]) -> None:
        """Take the request out of a twin's patch, whose other keys are settings.

        Raises:
            ConfigError: it is no request.
        """
        asked = patch.pop("update", None)
        if asked is not None:
            self.ask(asked)

    def called(self, payload: Any) -> tuple[int, dict[str, Any]]:
        """The direct method: its status and answer."""
        try:
            self.ask(payload)
        except ConfigError as error:
            return 400, {"error": error.problem}
        return 202, {}

    def turn(self, *, works: bool) -> dict[str, Any] | None:
        """Listen to the updater and start it when something is asked for.

        Args:
            works: whether all works; a new version on trial is kept for that.

        Returns:
            the new state for the twin's reported properties, or None when it is as before.
        """
        self._say(works)
        before = dict(self.state)
        if self._child is None and self._wanted:
            self._begin(self._wanted)
            self._wanted = None
        elif self._child:
            self._listen(self._child)
        if self._was_trial and not (self._slot / "trial").exists():
            self._was_trial = False
            self._note("committed", self.installed)
        return self.state if self.state != before else None

    def _say(self, healthy: bool) -> None:
        """Put the file there, or take it away; a device without slots has no folder for it."""
        if not self._healthy.parent.is_dir() or self._healthy.exists() == healthy:
            return
        if healthy:
            self._healthy.touch()
        else:
            self._healthy.unlink(missing_ok=True)

    def _begin(self, wanted: Request) -> None:
        try:
            self._child = self._start("update")
        except OSError:
            self._note("refused", wanted.version, error="this device has no updater")
            return
        self._child.channel.setblocking(False)
        messages.send(
            self._child.channel, messages.StartUpdate(wanted.url, wanted.sha256, wanted.version)
        )

    def _listen(self, child: launcher.Child) -> None:
        while True:
            try:
                message = messages.receive(child.channel)
            except BlockingIOError:
                return
            except (OSError, msgspec.DecodeError):
                message = None
            if not isinstance(message, messages.UpdateState):
                break
            self._note(message.state, message.version, message.percent, message.error)
        child.process.kill()
        child.channel.close()
        child.process.wait(timeout=5)
        self._child = None

    def _note(self, state: str, version: str, percent: int = 0, error: str = "") -> None:
        if (state, version) != (self.state.get("state"), self.state.get("version")):
            log("update", state=state, version=version)
        self.state = {
            "state": state,
            "version": version,
            "percent": percent,
            "error": error or None,
        }
