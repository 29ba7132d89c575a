"""A network of our own, in which packets may be lost where the system permits it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def enter_namespace() -> None:
    """Begin again in a network namespace when the system permits one; call it first of all."""
    if os.environ.get("FLOW_NAMESPACE") or not shutil.which("unshare"):
        return
    words = ["unshare", "--net", "--map-root-user", "sh", "-c", "ip link set lo up"]
    tried = subprocess.run(words, capture_output=True, timeout=10, check=False)
    if tried.returncode == 0:
        script = 'ip link set lo up && exec "$@"'
        again = [sys.executable, "-m", "hil.faults", *sys.argv[1:]]
        os.environ["FLOW_NAMESPACE"] = "1"
        os.execvp("unshare", [*words[:3], "sh", "-c", script, "sh", *again])  # noqa: S606


def wire_octets() -> int:
    """What has crossed the loopback interface of our own namespace, both ways; 0 without one."""
    if os.environ.get("FLOW_NAMESPACE") != "1":
        return 0
    lines = Path("/proc/net/dev").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


class Link:
    """The loopback interface of a network namespace of our own, which may lose packets."""

    def __init__(self) -> None:
        self.can_lose = bool(shutil.which("nft")) and os.environ.get("FLOW_NAMESPACE") == "1"
        if self.can_lose:
            made = _nft("add table inet campaign") and _nft(
                "add chain inet campaign in { type filter hook input priority 0; }"
            )
            self.can_lose = made and _nft(
                "add rule inet campaign in numgen random mod 100 < 0 drop"
            )
            self.lose(0)

    def lose(self, percent: int) -> None:
        """Drop so many of a hundred packets that arrive."""
        if self.can_lose:
            _nft("flush chain inet campaign in")
            if percent:
                _nft(f"add rule inet campaign in numgen random mod 100 < {percent} drop")


def _nft(rule: str) -> bool:
    done = subprocess.run(["nft", rule], capture_output=True, timeout=10, check=False)
    return done.returncode == 0
