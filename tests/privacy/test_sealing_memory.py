"""Sealing leaves no plain text of a record in the memory of a process that is started as vision."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from firmware import launcher
from tests import keys

MASK = 0x5A5A5A5A5A
CHILD = f"""
import sys
from firmware.record import Interaction
from firmware.sealing import Recipient, seal
import msgspec

masked, keep, recipient = int(sys.argv[1]), sys.argv[2], Recipient.from_bytes(sys.argv[3].encode())
for _ in range(20):
    visit = Interaction(start_utc_s=masked ^ {MASK}, dwell_ms=100)
    kept = msgspec.json.encode(visit) if keep == "keep" else None
    seal(visit, number=1, device="lobby-1", recipient=recipient)
del visit
print("ready", flush=True)
sys.stdin.read()
"""


def occurrences(needle: bytes, pid: int) -> int:
    """How often `needle` stands in the writable memory of a process."""
    found = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *_ = line.split()
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(bound, 16) for bound in area.split("-"))
            memory.seek(start)
            found += memory.read(end - start).count(needle)
    return found


@pytest.mark.parametrize(("keep", "clean"), [("drop", True), ("keep", False)])
def test_no_plain_text_stays(keep: str, clean: bool) -> None:
    start_utc_s = 10**12 + secrets.randbelow(9 * 10**10)  # its 13 digits occur nowhere else
    public = keys.private_key().public_bytes().decode()
    arguments = [sys.executable, "-c", CHILD, str(start_utc_s ^ MASK), keep, public]
    with subprocess.Popen(
        arguments,
        env=launcher.environment("vision"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        found = occurrences(str(start_utc_s).encode(), child.pid)
        child.stdin.close()
        assert child.wait(30) == 0
    assert (found == 0) is clean, f"{found} occurrences"
