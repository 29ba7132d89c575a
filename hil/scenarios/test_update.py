"""A new version comes over the air."""

from __future__ import annotations

import pytest

from hil.rigs.strategy import SensorStrategy
from hil.scenarios.conftest import Note


@pytest.mark.needs("update")
def test_update_and_rollback(rig: SensorStrategy, note: Note) -> None:
    """A good bundle is kept; one that crashes at start goes back, and the device counts again."""
    rig.transition("counting")
    for bundle, expected in (("good", "committed"), ("crashing", "rolled back")):
        before = rig.interactions()
        outcome = rig.board.update(bundle)
        note(f"update {bundle}", outcome)
        assert outcome == expected
        rig.transition("counting")
        assert rig.count("one_passes")[1] == 1
        assert min(set(rig.interactions()) - set(before)) > max(before, default=0)
