"""Many devices at once: a list in CSV, some work for each, and progress that a person can watch."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from firmware.errors import ConfigError, SensorError
from provisioning.authority import DEVICE_ID

COLUMNS = ("device", "site", "profile")


@dataclass(frozen=True)
class Unit:
    """One line of the list."""

    device: str
    site: str = ""
    profile: str = ""


def read(path: Path) -> list[Unit]:
    """Read a list of devices: a header line with `device` and, if wanted, `site` and `profile`.

    Raises:
        ConfigError: the file cannot be read, a column is unknown, an id is unusable or stands
            there twice; the line is named.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            columns = lines.fieldnames or ()
            units = [_unit(row, f"{path}:{lines.line_num}") for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"list {path} cannot be read ({type(error).__name__})",
            remedy=f"make it a UTF-8 CSV file with the columns {', '.join(COLUMNS)}",
        ) from error
    if "device" not in columns or set(columns) - set(COLUMNS):
        raise ConfigError(
            f"list {path} has the columns {', '.join(columns) or 'none'}",
            remedy=f"name them {', '.join(COLUMNS)}; only device is needed",
        )
    seen: set[str] = set()
    for unit in units:
        if unit.device in seen:
            raise ConfigError(
                f"list {path} names {unit.device!r} twice", remedy="remove one of the lines"
            )
        seen.add(unit.device)
    return units


def _unit(row: dict[str, str | None], where: str) -> Unit:
    device = (row.get("device") or "").strip()
    if not DEVICE_ID.fullmatch(device):
        raise ConfigError(
            f"{where}: {device!r} is no device id",
            remedy="take at most 64 lower-case letters, digits and -._:",
        )
    return Unit(device, (row.get("site") or "").strip(), (row.get("profile") or "").strip())


def each(
    units: Sequence[Unit],
    work: Callable[[Unit], None],
    *,
    what: str,
    at_once: int = 1,
    screen: TextIO | None = None,
) -> dict[str, SensorError]:
    """Do some work for each device, several at once, and show how far it is.

    Returns: the devices for which it failed, with the reason. Others go on.
    """
    screen = screen or sys.stderr
    began = time.monotonic()
    failed: dict[str, SensorError] = {}
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        running = {pool.submit(work, unit): unit for unit in units}
        for done, future in enumerate(as_completed(running), start=1):
            error = future.exception()
            if isinstance(error, SensorError):
                failed[running[future].device] = error
            elif error is not None:
                raise error
            share = f"{what}: {done} of {len(units)}"
            line = f"{share}, {len(failed)} failed" if failed else share
            _show(screen, f"{line}, {time.monotonic() - began:.0f} s", last=done == len(units))
    for device, reason in sorted(failed.items()):
        print(f"{device}: {reason}", file=screen)
    return failed


def _show(screen: TextIO, line: str, *, last: bool) -> None:
    """On a terminal one line that changes; elsewhere only the last one."""
    if screen.isatty():
        print(f"\r{line}", end="\n" if last else "", file=screen, flush=True)
    elif last:
        print(line, file=screen, flush=True)
