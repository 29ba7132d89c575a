"""What an updater says of itself."""

from __future__ import annotations

from collections.abc import Callable

from firmware import messages


class Voice:
    """Tells the supervisor how far an update is; a percentage only when it is another one.

    Args:
        tell: takes what is said.
        version: that was asked for.
    """

    def __init__(self, tell: Callable[[messages.UpdateState], None], version: str) -> None:
        self._tell = tell
        self._version = version
        self._percent = -1

    def say(self, state: messages.UpdateStage, percent: int = 0) -> None:
        self._tell(messages.UpdateState(state, self._version, percent))

    def progress(self, so_far: int, total: int) -> None:
        """Bytes that have been fetched."""
        percent = 100 * so_far // total if total else 0
        if percent != self._percent:
            self._percent = percent
            self.say("downloading", percent)
