"""The last station: the web application takes the records from the hub and shows the visitors.

It runs in an environment of its own (`make demo` sets it up) and is told only where this run's
folder is; nothing of it is imported here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hil import report


def show(python: Path, folder: Path, visitors: int) -> bool:
    """Bring the visitors onto the overview page; True when they stand there.

    At a terminal the page is served until Ctrl-C; elsewhere it is fetched, checked and gone.

    Args:
        python: of the web application's environment.
        folder: this run's, whose hub still runs.
        visitors: that the page must show.
    """
    words = [str(python.absolute()), "-m", "flow.demo", str(folder), "--visitors", str(visitors)]
    if sys.stdin.isatty() and sys.stdout.isatty() and "CI" not in os.environ:
        words.append("--stay")
    serving = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(report.ROOT)})
    while True:
        try:
            return serving.wait() == 0
        except KeyboardInterrupt:  # the page had it too, and ends
            continue
        except SystemExit:
            serving.terminate()
            serving.wait()
            raise
