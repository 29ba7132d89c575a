"""`flow-sensor`: what an integrator, an operator and the key's holder type."""

from __future__ import annotations

import argparse
import functools
import getpass
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from firmware import __version__, launcher, settings
from firmware.errors import ConfigError, PrivacyError, SealError, SensorError
from firmware.supervisor import Supervisor
from firmware.ward import Starter

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
        "13 model or engine, 14 sealing, 15 hub, 16 identity, 17 a reboot "
        "was asked for.",
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
    run.add_argument(
        "--strict", action="store_true", help="as [privacy] strict = true, whatever the file says"
    )
    run.add_argument(
        "--sockets",
        type=Path,
        metavar="DIR",
        help="have the system start vision and uplink, by their sockets in DIR (systemd units)",
    )
    run.add_argument("--progress", action="store_true", help="log a status line every 2 s")
    _settings_option(run)
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="check a settings file and print it in full")
    _settings_option(check)
    check.set_defaults(command=_check)

    doctor = commands.add_parser(
        "doctor",
        help="say which privacy guarantees hold on this machine",
        description="Start a process confined as vision is, try what it must not be able to do, "
        "and print what to mend. Needs no camera, models or hub.",
        epilog="Exit status: 0 all hold, 11 one does not.",
    )
    _settings_option(doctor)
    doctor.set_defaults(command=_doctor)

    engines = commands.add_parser(
        "build-engines",
        help="build what this machine's GPU runs, where it is missing or does not fit",
        description="Build TensorRT engines from the typed models, with progress; engines that fit "
        "this GPU, this TensorRT and their model stay as they are. Minutes on a Jetson at first.",
        epilog="Exit status: 0 all engines fit, 13 one cannot be built.",
    )
    _settings_option(engines)
    engines.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp16")
    engines.add_argument(
        "--all", action="store_true", help="for every shape of frames, not only [source]'s"
    )
    engines.set_defaults(command=_build_engines)

    keygen = commands.add_parser(
        "keygen",
        help="make the key pair that records are sealed to",
        description="Write recipient-<id>.key, which stays with the analytics service, and "
        "recipient-<id>.pub, which goes onto the devices ([sealing] recipient).",
    )
    keygen.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder (here)")
    keygen.add_argument(
        "--suite",
        choices=("MLKEM768_X25519", "X25519"),
        default="MLKEM768_X25519",
        help="hybrid post-quantum (default), or the small classical one",
    )
    keygen.add_argument(
        "--passphrase", action="store_true", help="ask for one and lock the private key with it"
    )
    keygen.set_defaults(command=_keygen)

    opener = commands.add_parser(
        "open",
        help="open records with the private key",
        description="Open hub messages captured as JSON lines ({device, body in base64}), check "
        "who signed them, leave out what came twice, and print each record once.",
        epilog="Exit status: 0 everything opened, 14 something was refused.",
    )
    opener.add_argument("captures", nargs="+", type=Path, metavar="FILE", help="captures; -: stdin")
    opener.add_argument(
        "--key", action="append", required=True, type=Path, metavar="FILE", help="private key(s)"
    )
    opener.add_argument(
        "--devices", required=True, type=Path, metavar="DIR", help="certificates of the devices"
    )
    opener.add_argument("--roots", type=Path, metavar="FILE", help="roots these must chain to")
    opener.add_argument("--passphrase", action="store_true", help="ask for the keys' passphrase")
    opener.add_argument("--table", action="store_true", help="columns instead of JSON lines")
    opener.set_defaults(command=_open)
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
    if options.strict:
        current = msgspec.structs.replace(
            current, privacy=msgspec.structs.replace(current.privacy, strict=True)
        )
    start: Starter = launcher.start
    if options.sockets:
        start = functools.partial(launcher.connect, folder=options.sockets)
    return Supervisor(
        current,
        device=settings.device_id(current.identity),
        recipient_key=settings.recipient_key(current.sealing),
        progress=options.progress,
        start=start,
    ).run()


def _trial(source: str | None) -> int:
    if source is None or importlib.util.find_spec("hil") is None:
        raise ConfigError(
            f"there is no settings file {SETTINGS}",
            remedy="pass --settings FILE; for a trial in a checkout pass --source CLIP or camera",
        )
    os.execv(sys.executable, [sys.executable, "-m", "hil.demo", "--source", source])  # noqa: S606


def _doctor(options: argparse.Namespace) -> int:
    from firmware import guarantees

    file = options.settings or (SETTINGS if SETTINGS.exists() else None)
    found = guarantees.doctor(settings.load(file) if file else settings.Settings())
    for guarantee in found:
        print(f"{'holds' if guarantee.holds else 'BROKEN':<7} {guarantee.name}")
        if guarantee.remedy:
            print(f"        {guarantee.remedy}")
    return 0 if all(guarantee.holds for guarantee in found) else PrivacyError.exit_code


def _build_engines(options: argparse.Namespace) -> int:
    from firmware.engine_building import rebuild

    file = options.settings or (SETTINGS if SETTINGS.exists() else None)
    current = settings.load(file) if file else settings.Settings()
    rebuild(current, options.precision, every=options.all)
    return 0


def _keygen(options: argparse.Namespace) -> int:
    from firmware.envelope import Suite
    from firmware.recipient import keygen

    secret, public = keygen(options.out, Suite[options.suite], _passphrase(options, twice=True))
    print(f"private key, for the analytics service alone: {secret}")
    print(f"public key, for [sealing] recipient:          {public}")
    return 0


def _open(options: argparse.Namespace) -> int:
    from firmware.capture import open_captures
    from firmware.device_trust import DeviceTrust
    from firmware.reader import Reader
    from firmware.recipient import PrivateKey

    passphrase = _passphrase(options, twice=False)
    keys = [PrivateKey.load(path, passphrase) for path in options.key]
    trust = DeviceTrust.from_folder(options.devices, _content(options.roots))
    totals = open_captures(options.captures, Reader(keys, trust), table=options.table)
    print(totals, file=sys.stderr)
    return SealError.exit_code if totals.refused else 0


def _content(path: Path | None) -> bytes:
    try:
        return path.read_bytes() if path else b""
    except OSError as error:
        raise SealError(
            f"{path} cannot be read ({error.strerror})",
            remedy="name a PEM file of root certificates",
        ) from error


def _passphrase(options: argparse.Namespace, *, twice: bool) -> bytes | None:
    if not options.passphrase:
        return None
    typed = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("Once more: ") != typed:
        raise SealError("the two passphrases differ", remedy="type the same one twice")
    return typed.encode()


def _check(options: argparse.Namespace) -> int:
    current = settings.load(options.settings or SETTINGS)
    print(msgspec.json.format(msgspec.json.encode(current), indent=2).decode())
    return 0
