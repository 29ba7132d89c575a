"""`flow-provision`: what an operator types to bring devices into the cloud, and keep them there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from firmware.errors import SensorError
from provisioning import commands
from provisioning.authority import DEVICE_DAYS, DEVICE_ID

_EPILOG = """\
A pilot, from nothing to connected devices:

  flow-provision init-ca ca --batch pilot
  flow-provision enroll --service azure.toml --group pilot --certificate ca/pilot.pem
  flow-provision register devices.csv --ca ca --batch pilot --settings sensor.toml --out devices

A device that has made its own key:

  on the device    flow-provision request /var/lib/flow-sensor --device sensor-0001 > s.csr
  at the operator  flow-provision issue s.csr --ca ca --batch pilot --out device.pem

azure.toml holds the connection strings of both services and may be read by its owner only:

  hub = "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"
  dps = "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"

Exit status: 0 all went well, 2 wrong usage, 10 a file or a list is wrong, 14 a recipient's key is
wrong, 15 a service cannot be reached, 16 a device or a request is refused.
"""


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
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_subparsers(required=True, metavar="COMMAND").add_parser
    _certificates(add)
    _joining(add)
    _upkeep(add)
    return parser


def _certificates(add: Callable[..., argparse.ArgumentParser]) -> None:
    init = add(
        "init-ca",
        help="make a root authority, and an intermediate one for each batch of devices",
        description="Make the root authority when the folder has none, and one intermediate "
        "authority for each --batch. Keep root.key offline afterwards: only a new batch needs it.",
    )
    init.add_argument("ca", type=Path, metavar="FOLDER")
    init.add_argument("--name", default="FLOW pilot", help="stands in the certificates' subjects")
    init.add_argument("--batch", action="append", default=[], metavar="NAME")
    init.set_defaults(command=commands.init_ca)

    request = add(
        "request",
        help="on the device: make its key and a certificate request",
        description="Make the device's key on its identity partition, unless it has one, and "
        "print a certificate request. The key never leaves the device.",
    )
    request.add_argument("directory", type=Path, help="the identity partition")
    request.add_argument("--device", type=_device_id, required=True, metavar="ID")
    request.set_defaults(command=commands.request)

    issue = add(
        "issue",
        help="sign a device's certificate request",
        description="Sign a certificate request with a batch's authority. What is written belongs "
        "on the device's identity partition as device.pem; a copy goes to FOLDER/issued, which the "
        "reader of the records trusts.",
    )
    issue.add_argument("request", type=Path, metavar="REQUEST")
    issue.add_argument("--out", type=Path, required=True, metavar="FILE")
    _authority(issue)
    issue.set_defaults(command=commands.issue)


def _joining(add: Callable[..., argparse.ArgumentParser]) -> None:
    enroll = add(
        "enroll",
        help="tell the registration service which devices may join",
        description="Write an enrolment group (--group), whose devices prove themselves by a "
        "certificate of a batch or by a key derived from the group's; or, from a list, one "
        "enrolment for each device, by the certificate that was issued to it.",
        epilog="For hundreds of devices prefer a group: one entry lets a whole batch in.",
    )
    enroll.add_argument("list", type=Path, nargs="?", metavar="CSV", help="columns: device, …")
    enroll.add_argument("--group", metavar="NAME")
    enroll.add_argument("--certificate", type=Path, metavar="PEM", help="of the batch's authority")
    enroll.add_argument("--group-key", type=Path, metavar="FILE", help="base64, 16 to 64 bytes")
    enroll.add_argument("--hub", action="append", default=[], help="assign to this hub only")
    enroll.add_argument("--ca", type=Path, metavar="FOLDER", help="for a list: where init-ca wrote")
    _service(enroll)
    enroll.set_defaults(command=commands.enroll)

    register = add(
        "register",
        help="make, register and connect every device of a list",
        description="For devices whose identity partitions are written on this machine: make key "
        "and certificate (or shared key) for each line of the list below --out, register it and "
        "connect as it once. What is there already is kept, so it can be repeated.",
    )
    register.add_argument("list", type=Path, metavar="CSV", help="columns: device, site, profile")
    register.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    register.add_argument("--settings", type=Path, required=True, help="a device's sensor.toml")
    register.add_argument("--group-key", type=Path, metavar="FILE", help="instead of certificates")
    register.add_argument("--at-once", type=_many, default=16, metavar="N", help="default 16")
    _authority(register, required=False)
    register.set_defaults(command=commands.register)


def _upkeep(add: Callable[..., argparse.ArgumentParser]) -> None:
    rotate = add(
        "rotate",
        help="renew certificates of devices in the field",
        description="Ask each device for a new key's request, sign it, and wait until the device "
        "has changed over. A device whose new certificate does not work keeps the old one.",
    )
    _devices(rotate)
    _authority(rotate)
    _service(rotate)
    rotate.set_defaults(command=commands.rotate)

    revoke = add(
        "revoke",
        help="shut a device out, for instance a stolen one",
        description="Disable the device in its hub and in the registration service, and take its "
        "certificates out of FOLDER/issued, so that the reader believes it no more.",
    )
    _devices(revoke)
    revoke.add_argument("--ca", type=Path, required=True, metavar="FOLDER")
    _service(revoke)
    revoke.set_defaults(command=commands.revoke)

    show = add(
        "show",
        help="show certificates, and what the cloud knows of devices",
        description="Show each device's issued certificates and, with --service, its state in "
        "the hub: connected, versions, high-water mark of numbers, pending renewal.",
    )
    _devices(show)
    show.add_argument("--ca", type=Path, metavar="FOLDER")
    _service(show, required=False)
    show.set_defaults(command=commands.show)

    recipient = add(
        "recipient",
        help="sign which key devices seal to, and send it to them",
        description="Sign a recipient's public key with the operator's key, which is made when "
        "the file does not exist. With devices and --service the statement goes to their twins.",
    )
    recipient.add_argument("public", type=Path, help="public key file of flow-sensor keygen")
    recipient.add_argument("--operator", type=Path, required=True, metavar="KEY")
    recipient.add_argument("--serial", type=int, required=True, help="higher than any before")
    recipient.add_argument("--out", type=Path, required=True, metavar="FILE")
    _devices(recipient, required=False)
    _service(recipient, required=False)
    recipient.set_defaults(command=commands.recipient)


def _authority(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--ca", type=Path, required=required, metavar="FOLDER")
    parser.add_argument("--batch", required=required, metavar="NAME")
    parser.add_argument(
        "--days", type=_days, default=DEVICE_DAYS, help=f"of a certificate (default {DEVICE_DAYS})"
    )


def _service(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--service", type=Path, required=required, metavar="TOML", help="connection strings"
    )


def _devices(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    which = parser.add_mutually_exclusive_group(required=required)
    which.add_argument("--device", type=_device_id, action="append", metavar="ID")
    which.add_argument("--list", type=Path, metavar="CSV")


def _device_id(text: str) -> str:
    if not DEVICE_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no device id: at most 64 lower-case letters, digits and -._:"
        )
    return text


def _days(text: str) -> int:
    return _between(text, 1, 3650)


def _many(text: str) -> int:
    return _between(text, 1, 64)


def _between(text: str, low: int, high: int) -> int:
    if not (text.isdecimal() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
