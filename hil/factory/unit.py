"""The record of a unit: what it is, who it is, and how it did at the station."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from firmware.errors import ConfigError
from hil import report


@dataclass
class Unit:
    """One unit; it has passed when `why` is empty.

    Attributes:
        certificate: SHA-256 of its certificate, and the serial number, both hexadecimal.
        slots: SHA-256 of each read-only part of its storage, as it leaves the station.
        health: what it said about itself in the test.
        seconds: of each step.
    """

    device: str
    certificate: dict[str, str] = field(default_factory=dict)
    slots: dict[str, str] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    why: str = "not finished"

    @property
    def passed(self) -> bool:
        return not self.why

    @property
    def verdict(self) -> str:
        return "passed" if self.passed else "failed"

    def write(self, folder: Path) -> Path:
        """`<device>.json`; a unit that is made again gets its record anew.

        Raises:
            ConfigError: the folder cannot be written.
        """
        path = folder / f"{self.device}.json"
        record = {"verdict": self.verdict, **asdict(self), "commit": report.commit()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror})", remedy="name a folder with --out"
            ) from error
        return path
