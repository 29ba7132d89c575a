"""The updater of a board made of processes: `python -m hil.rigs.updater --channel FD`.

It is the product's, with the board's own places, and with less patience than a shop has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from firmware.update import __main__ as entry
from firmware.update import models


def places(board: Path) -> models.Places:
    """Where a board in this folder keeps its sets of models."""
    return models.Places(
        sets=board / "models",
        release=board / "slot" / "release.pub",
        folder=board / "ram" / "update",
        trust=board / "identity" / "update-roots.pem",
        steady_s=2.0,
        patience_s=100.0,
    )


if __name__ == "__main__":
    here = places(Path(os.environ["FLOW_BOARD"]))
    models.Places = lambda: here  # type: ignore[misc, assignment]
    sys.exit(entry.main())
