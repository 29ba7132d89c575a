"""docs/settings.md lists every key with its default, and no key that does not exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

from firmware import settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \| `(.*?)` \| (yes)? ?\|", re.MULTILINE)


def test_page_and_code_agree() -> None:
    rows = {key: (default, bool(twin)) for key, default, twin in ROW.findall(PAGE.read_text())}
    tree = settings.builtins(settings.Settings())
    expected = {
        f"{section}.{key}": (json.dumps(value), f"{section}.{key}" in settings.TWIN_KEYS)
        for section, values in tree.items()
        for key, value in values.items()
    }
    assert rows == expected
