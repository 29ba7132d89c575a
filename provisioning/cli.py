"""`flow-provision`: what an operator types to bring devices into the cloud."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from firmware.errors import ProvisioningError, SensorError
from firmware.uplink import identity
from provisioning.authority import DEVICE_DAYS, DEVICE_ID, Authority, write_new


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except SensorError as error:
        print(f"flow-provision: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flow-provision",
        description="Bring sensors into the cloud: certificates, enrolment, registration.",
        epilog="Exit status: 0 all went well, 2 wrong usage, 15 service, 16 identity.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser(
        "init-ca",
        help="make a root authority, or an intermediate one for a batch of devices",
        description="Make the root authority when the folder has none, and one intermediate "
        "authority for each --batch. Keep root.key offline afterwards: only a new batch needs it.",
        epilog="Example: flow-provision init-ca ca --batch pilot-2026",
    )
    init.add_argument("folder", type=Path)
    init.add_argument("--name", default="FLOW pilot", help="stands in the certificates' subjects")
    init.add_argument("--batch", action="append", default=[], metavar="NAME")
    init.set_defaults(command=_init_ca)

    request = commands.add_parser(
        "request",
        help="on the device: make its key and a certificate request",
        description="Make the device's key on its identity partition, unless it has one, and "
        "print a certificate request. The key never leaves the device.",
        epilog="Example: flow-provision request /var/lib/flow-sensor --device sensor-0001 > s.csr",
    )
    request.add_argument("directory", type=Path, help="the identity partition")
    request.add_argument("--device", type=_device_id, required=True, metavar="ID")
    request.set_defaults(command=_request)

    issue = commands.add_parser(
        "issue",
        help="sign a device's certificate request",
        description="Sign a certificate request with a batch's authority. What is written belongs "
        f"on the device's identity partition as {identity.CERTIFICATE_FILE}.",
        epilog="Example: flow-provision issue ca --batch pilot-2026 s.csr --out device.pem",
    )
    issue.add_argument("folder", type=Path, help="where init-ca wrote")
    issue.add_argument("request", type=Path)
    issue.add_argument("--batch", required=True, metavar="NAME")
    issue.add_argument("--out", type=Path, required=True)
    issue.add_argument("--days", type=_days, default=DEVICE_DAYS)
    issue.set_defaults(command=_issue)
    return parser


def _init_ca(options: argparse.Namespace) -> None:
    folder: Path = options.folder
    if (folder / "root.pem").exists():
        root = Authority.load(folder, "root")
    else:
        root = Authority.root(f"{options.name} root")
        root.save(folder, "root")
        print(f"root authority: {folder / 'root.pem'}; keep {folder / 'root.key'} offline")
    for name in options.batch:
        root.batch(f"{options.name} {name}").save(folder, name)
        print(f"batch authority: {folder / name}.pem")


def _request(options: argparse.Namespace) -> None:
    sys.stdout.write(identity.request(options.directory, options.device).decode())


def _issue(options: argparse.Namespace) -> None:
    try:
        request = options.request.read_bytes()
    except OSError as error:
        raise ProvisioningError(
            f"{options.request} cannot be read ({error.strerror})", remedy="name the request's file"
        ) from error
    issued = Authority.load(options.folder, options.batch).device(request, days=options.days)
    write_new(options.out, issued, mode=0o644)
    print(f"certificate: {options.out}")


def _device_id(text: str) -> str:
    if not DEVICE_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no device id: at most 64 lower-case letters, digits and -._:"
        )
    return text


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 3650:
        raise argparse.ArgumentTypeError("1 … 3650")
    return days


if __name__ == "__main__":
    raise SystemExit(main())
