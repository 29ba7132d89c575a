"""`flow-factory`: make sensors, one after another, on a station that is a rig.

For each unit: flash, boot, let it make its key, issue its certificate, test it with the station's
own hub with a visitor before its camera, leave the site's settings on it, print the label, write
its record. A unit that fails gets no label, and its certificate is revoked.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from labgrid import Environment
from rich.console import Console
from rich.table import Table

from firmware.errors import ConfigError, SensorError
from hil import report
from hil.factory.station import Order, Station
from hil.factory.unit import Unit
from hil.rigs import files
from provisioning.authority import DEVICE_DAYS, DEVICE_ID, Authority
from provisioning.issued import Issued

_EPILOG = """\
Once:        flow-provision init-ca ca --batch 2026-q1
             flow-sensor keygen --out keys
A batch:     flow-factory --rig pi --ca ca --batch 2026-q1 --first flow-000001 --count 20
               --settings site.toml --recipient keys/recipient-….pub
               --notice https://flow.example/notice/k3vd --out units
Then:        flow-provision enroll --service azure.toml --group 2026-q1 --certificate ca/2026-q1.pem

site.toml is what the units shall have as /var/lib/flow-sensor/sensor.toml: their hub, their camera.

Exit status: 0 every unit passed, 1 one did not, 10 a file is wrong, 16 the authority is.
"""


def main(words: list[str] | None = None) -> int:
    chosen = _parser().parse_args(words)
    # Whoever ends the station ends its hub and its board too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        order = _order(chosen)
        environment = Environment(str(files.rig(chosen.rig)))
        strategy = environment.get_target().get_driver("SensorStrategy")
        station = Station(strategy, order)
        try:
            units = [station.make(name) for name in _names(chosen.first, chosen.count)]
        finally:
            environment.cleanup()
    except SensorError as error:
        print(f"flow-factory: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    _show(units)
    passed = sum(unit.passed for unit in units)
    seconds = [sum(unit.seconds.values()) for unit in units]
    path = report.write(
        "factory",
        {
            "rig": chosen.rig,
            "units": len(units),
            "passed": passed,
            "seconds_each": round(sum(seconds) / len(seconds), 1),
            "seconds_longest": round(max(seconds), 1),
        },
    )
    print(f"factory: {passed} of {len(units)} units passed → {chosen.out}, {path}")
    return 0 if passed == len(units) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flow-factory",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rig", required=True, help="name of a rig, or its file")
    parser.add_argument("--ca", type=Path, required=True, metavar="FOLDER", help="of init-ca")
    parser.add_argument("--batch", required=True, metavar="NAME")
    parser.add_argument("--days", type=int, default=DEVICE_DAYS, help="of a certificate")
    parser.add_argument("--first", required=True, metavar="ID", help="first device id: …0001")
    parser.add_argument("--count", type=int, default=1, help="units to make (1)")
    parser.add_argument("--settings", type=Path, required=True, help="a unit's sensor.toml")
    parser.add_argument("--recipient", type=Path, required=True, help="key that records go to")
    parser.add_argument("--notice", required=True, metavar="URL", help="of the site, for the label")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    return parser


def _order(chosen: argparse.Namespace) -> Order:
    try:
        site = {
            "sensor.toml": chosen.settings.read_bytes(),
            "recipient.pub": chosen.recipient.read_bytes(),
        }
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be read ({error.strerror})",
            remedy="name the units' settings and the recipient's public key",
        ) from error
    return Order(
        batch=Authority.load(chosen.ca, chosen.batch),
        issued=Issued(chosen.ca),
        days=chosen.days,
        site=site,
        notice=chosen.notice,
        out=chosen.out,
    )


def _names(first: str, count: int) -> list[str]:
    """`first` and those behind it: `flow-0007`, `flow-0008`, …

    Raises:
        ConfigError: it is no device id, or does not end in digits enough for so many.
    """
    digits = first[len(first.rstrip("0123456789")) :]
    last = int(digits or 0) + count - 1
    if not DEVICE_ID.fullmatch(first) or not digits or len(str(last)) > len(digits) or count < 1:
        raise ConfigError(
            f"{count} units cannot be counted from {first!r}",
            remedy="let the first id end in digits enough, such as flow-000001",
        )
    stem = first.removesuffix(digits)
    return [f"{stem}{number:0{len(digits)}}" for number in range(int(digits), last + 1)]


def _show(units: list[Unit]) -> None:
    table = Table(title=f"{len(units)} units")
    for column in ("unit", "verdict", *units[0].seconds, "why"):
        table.add_column(column, justify="right" if column in units[0].seconds else "left")
    for unit in units:
        times = [f"{unit.seconds.get(step, 0):.1f}" for step in units[0].seconds]
        style = None if unit.passed else "bold red"
        table.add_row(unit.device, unit.verdict, *times, unit.why, style=style)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    sys.exit(main())
