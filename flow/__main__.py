"""`python -m flow <command>`: Django's command line with FLOW's settings."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

from firmware.errors import SensorError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flow.settings")
    try:
        execute_from_command_line(["flow", *sys.argv[1:]])
    except SensorError as error:
        print(f"flow: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
