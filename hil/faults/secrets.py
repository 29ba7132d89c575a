"""What no log may hold: every private key, shared key and connection string below a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

MARKS = (b"PRIVATE KEY", b"SharedAccess", b"HostName=", b"sig=", b"skn=")
"""Words that go with a key, a token or a connection string, whatever they hold."""

_LONG = re.compile(rb"[A-Za-z0-9+/=_-]{32,}")
_FILES = ("*.key", "service.toml", "hub.json")


def secrets(*folders: Path) -> set[bytes]:
    """Base64 runs in key files, service files and hub registries; 24 characters of one suffice.

    A PEM file's lines, a shared key, the keys in connection strings and in enrolments.
    """
    found: set[bytes] = set()
    for folder in folders:
        for pattern in _FILES:
            for path in folder.rglob(pattern):
                found |= {run[:24] for run in _LONG.findall(_without_certificates(path))}
    return found


def leaks(text: bytes, known: Iterable[bytes]) -> list[bytes]:
    """The secrets and marks that stand in a log."""
    return [one for one in (*known, *MARKS) if one in text]


def _without_certificates(path: Path) -> bytes:
    return re.sub(
        rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----",
        b"",
        path.read_bytes(),
        flags=re.DOTALL,
    )
