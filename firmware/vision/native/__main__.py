"""`python -m firmware.vision.native`: build the C libraries into the cache."""

from __future__ import annotations

import sys

from firmware.errors import PrivacyError
from firmware.vision import native

if __name__ == "__main__":
    try:
        for path in native.build():
            print(f"native: {path}")
    except PrivacyError as error:
        print(f"native: {error}", file=sys.stderr)  # the documented fallback: set-up goes on
