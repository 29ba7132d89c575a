"""Are the Debian packages there that these tests need? Says what to install when not."""

from __future__ import annotations

import sys
from pathlib import Path

NEEDED = {
    "chromium": Path("/usr/bin/chromium"),
    "postgresql": Path("/usr/lib/postgresql"),
}

if __name__ == "__main__":
    missing = [package for package, path in NEEDED.items() if not path.exists()]
    if missing:
        sys.exit(f"flow-test: apt-get install --no-install-recommends {' '.join(missing)}")
