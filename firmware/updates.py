"""The supervisor's side of updates: what the twin asks for, how far it is, and is this one good?

An update is asked for by the desired property `update` or by the method of that name:
`{"url": "https://…", "sha256": "…", "version": "1.4.0"}`, and `"part": "models"` for models apart
from the image. The updater is a child like the others,
started for one request. It holds no envelope and needs none: it may end when it likes.
"""

from __future__ import annotations

import re
from contextlib import suppress
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
    part: messages.UpdatePart = "image"


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
        self.models: str | None = None
        """Version of the models that vision shall look with, once an update has tried some."""
        self._part: messages.UpdatePart = "image"
        self._models_before = ""
        self._trying = False
        self._failures = 0
        self._told = messages.Works()

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

    def turn(self, *, works: bool, models: str = "") -> dict[str, Any] | None:
        """Listen to the updater and start it when something is asked for.

        Args:
            works: whether all works; a new version on trial is kept for that.
            models: version of the set of models that vision looks with.

        Returns:
            the new state for the twin's reported properties, or None when it is as before.
        """
        self._say(works)
        before = dict(self.state)
        if self._child is None and self._wanted:
            self._models_before = models
            self._begin(self._wanted)
            self._wanted = None
        elif self._child:
            self._tell(self._child, messages.Works(works, models, self._failures))
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
        self._told, self._trying = messages.Works(), False
        self._part = wanted.part
        messages.send(
            self._child.channel,
            messages.StartUpdate(wanted.url, wanted.sha256, wanted.version, wanted.part),
        )

    def _tell(self, child: launcher.Child, word: messages.Works) -> None:
        """What an updater that tries models waits for, and nothing from before its trial; one that
        is not there will be noticed."""
        if self._trying and word != self._told:
            with suppress(OSError):
                messages.send(child.channel, word)
                self._told = word

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
            if self._part == "models":
                self._choose(message)
        if self._part == "models" and self.state.get("state") == "trial":  # it was killed
            self.models = self._models_before
        child.process.kill()
        child.channel.close()
        child.process.wait(timeout=5)
        self._child = None

    def successor_failed(self) -> None:
        """Perhaps because of the models that are tried."""
        self._failures += 1

    def _choose(self, said: messages.UpdateState) -> None:
        """Which models vision shall look with; its successor is made ready when it has others."""
        if said.state == "trial":
            self.models, self._trying, self._failures = said.version, True, 0
        elif said.state == "refused" and self.models is not None:
            self.models = self._models_before

    def _note(self, state: str, version: str, percent: int = 0, error: str = "") -> None:
        if (state, version) != (self.state.get("state"), self.state.get("version")):
            log("update", state=state, version=version)
        self.state = {
            "state": state,
            "version": version,
            "percent": percent,
            "error": error or None,
        }
