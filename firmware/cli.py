"""`flow-sensor`: what an integrator, an operator and the key's holder type."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from firmware import __version__, settings
from firmware.errors import ConfigError, SensorError
from firmware.supervisor import Supervisor

SETTINGS = Path("/etc/flow-sensor/sensor.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except SensorError as error:
        print(f"flow-sensor: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flow-sensor",
        description="A visitor sensor that keeps nothing of the people it sees.",
        epilog="Exit status: 0 all went well, 2 wrong usage, 10 settings, 11 privacy, 12 camera, "
        "13 model or engine, 14 sealing, 15 hub, 16 identity.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="count visitors and send sealed records",
        description="Start the sensor's three processes and run until SIGTERM, Ctrl-C or the end "
        "of a clip. Without any settings file, in a checkout, --source makes a trial run against "
        "a hub on this machine, as `make demo` does.",
        epilog="Examples: flow-sensor run --source /dev/video0; flow-sensor run --source clip.mp4 "
        "--settings sensor.toml",
    )
    run.add_argument("--source", metavar="URI", help="camera or clip, instead of [source] uri")
    run.add_argument("--progress", action="store_true", help="log a status line every 2 s")
    _settings_option(run)
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="check a settings file and print it in full")
    _settings_option(check)
    check.set_defaults(command=_check)
    return parser


def _settings_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help=f"settings file (default {SETTINGS})"
    )


def _run(options: argparse.Namespace) -> int:
    if options.settings is None and not SETTINGS.exists():
        return _trial(options.source)
    current = settings.load(options.settings or SETTINGS)
    if options.source:
        current = msgspec.structs.replace(
            current, source=msgspec.structs.replace(current.source, uri=options.source)
        )
    Supervisor(
        current,
        device=settings.device_id(current.identity),
        recipient_key=settings.recipient_key(current.sealing),
        progress=options.progress,
    ).run()
    return 0


def _trial(source: str | None) -> int:
    if source is None or importlib.util.find_spec("hil") is None:
        raise ConfigError(
            f"there is no settings file {SETTINGS}",
            remedy="pass --settings FILE; for a trial in a checkout pass --source CLIP or camera",
        )
    os.execv(sys.executable, [sys.executable, "-m", "hil.demo", "--source", source])  # noqa: S606


def _check(options: argparse.Namespace) -> int:
    current = settings.load(options.settings or SETTINGS)
    print(msgspec.json.format(msgspec.json.encode(current), indent=2).decode())
    return 0
