"""What a rig's strategy takes for a count."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hil.rigs import clips
from hil.rigs.strategy import SensorStrategy
from hil.scenes.script import Script


class Rig:
    """A sensor that seals who is in view when the scene is changed, and then all of the next."""

    def __init__(self, script: Script, in_view: int, in_scene: int) -> None:
        self.records: dict[int, str] = {7: "long ago"}
        self.script, self.in_view, self.in_scene = script, in_view, in_scene
        self.camera = self

    def _seal(self, visitors: int) -> None:
        self.records |= {max(self.records) + 1 + k: "visitor" for k in range(visitors)}

    def show(self, clip: Path) -> None:
        self._seal(self.in_view)

    def interactions(self) -> dict[int, str]:
        return dict(self.records)

    def passed(self, seconds: float) -> None:
        assert seconds == self.script.seconds
        self._seal(self.in_scene)

    def health(self, said: Any, what: str) -> None:
        assert said({"visitors_now": 0, "waiting": 0}) and not said(
            {"visitors_now": 0, "waiting": 1}
        )


@pytest.mark.parametrize("in_view", [0, 1])
@pytest.mark.parametrize("in_scene", [0, 1, 2])
def test_who_was_cut_off_by_the_change_of_scenes_is_not_of_the_next(
    monkeypatch: pytest.MonkeyPatch, in_view: int, in_scene: int
) -> None:
    script: Any = SimpleNamespace(seconds=6.0)
    monkeypatch.setattr(clips, "clip", lambda name: (script, Path(f"{name}.mp4")))
    rig: Any = Rig(script, in_view, in_scene)
    assert SensorStrategy.count(rig, "stops") == (script, in_scene)
