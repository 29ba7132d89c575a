"""What each command of `flow-provision` does, given its parsed options."""

from __future__ import annotations

import secrets
import sys
import time
from argparse import Namespace
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from firmware import key_statement, settings
from firmware.errors import ConfigError, ProvisioningError
from firmware.uplink import identity
from firmware.uplink.identity import Certificate, KeyFile
from provisioning import fleet
from provisioning.authority import Authority, write_new
from provisioning.enrolment import Enrolment
from provisioning.fleet import Unit
from provisioning.issued import Issued
from provisioning.joining import Joining
from provisioning.renewal import renew
from provisioning.service import Service

AT_ONCE = 8


def init_ca(options: Namespace) -> None:
    if (options.ca / "root.pem").exists():
        root = Authority.load(options.ca, "root")
    else:
        root = Authority.root(f"{options.name} root")
        root.save(options.ca, "root")
        print(f"root authority: {options.ca}/root.pem; keep {options.ca}/root.key offline")
    for name in options.batch:
        root.batch(f"{options.name} {name}").save(options.ca, name)
        print(f"batch authority: {options.ca}/{name}.pem")


def request(options: Namespace) -> None:
    sys.stdout.write(identity.request(options.directory, options.device).decode())


def issue(options: Namespace) -> None:
    authority = Authority.load(options.ca, options.batch)
    certificate = authority.device(_content(options.request), days=options.days)
    write_new(options.out, certificate, mode=0o644)
    Issued(options.ca).keep(Certificate.parse(certificate, options.out).device, certificate)
    print(f"certificate: {options.out}")


def enroll(options: Namespace) -> None:
    service = Service.load(options.service)
    hubs = tuple(options.hub)
    if options.group and (options.certificate or options.group_key) and not options.list:
        service.enrol(
            Enrolment(
                options.group,
                group=True,
                certificates=_pem(options.certificate),
                keys=_key(options.group_key),
                hubs=hubs,
            )
        )
        print(f"enrolment group: {options.group}")
    elif options.list and options.ca and not options.group:
        issued = Issued(options.ca)

        def one(unit: Unit) -> None:
            certificate = _newest(issued, unit.device)
            service.enrol(Enrolment(unit.device, certificates=_pem(certificate), hubs=hubs))

        _each(fleet.read(options.list), one, "enrolled")
    else:
        raise ConfigError(
            "neither a group nor a list is fully given",
            remedy="pass --group with --certificate or --group-key, or a CSV with --ca",
        )


def register(options: Namespace) -> None:
    from firmware.drivers.azure_hub import AzureCloud  # noqa: PLC0415 - the SDK takes 0.3 s

    units = fleet.read(options.list)
    joining = Joining(options.out, settings.load(options.settings), AzureCloud())
    if options.group_key:
        (key,) = _key(options.group_key)

        def prepare(unit: Unit) -> None:
            joining.share(unit, key)
    elif options.ca and options.batch:
        authority, issued = Authority.load(options.ca, options.batch), Issued(options.ca)

        def prepare(unit: Unit) -> None:
            joining.certify(unit, authority, issued, days=options.days)
    else:
        raise ConfigError(
            "it is not said how the devices prove themselves",
            remedy="pass --ca and --batch for certificates, or --group-key for shared keys",
        )

    def one(unit: Unit) -> None:
        prepare(unit)
        joining.connect(unit)

    _each(units, one, "connected", at_once=options.at_once)


def rotate(options: Namespace) -> None:
    service = Service.load(options.service)
    authority, issued = Authority.load(options.ca, options.batch), Issued(options.ca)

    def one(unit: Unit) -> None:
        renew(unit.device, service, authority, issued, days=options.days)

    _each(_units(options), one, "renewed")


def revoke(options: Namespace) -> None:
    service = Service.load(options.service)
    issued = Issued(options.ca)

    def one(unit: Unit) -> None:
        # A disabled entry of its own goes before its group's, which would let it in again.
        known = issued.of(unit.device)
        service.enrol(
            Enrolment(
                unit.device,
                certificates=_pem(known[-1]) if known else (),
                keys=() if known else (b64encode(secrets.token_bytes(32)).decode(),),
                enabled=False,
            )
        )
        service.disable(unit.device)
        issued.revoke(unit.device)

    _each(_units(options), one, "revoked")


def show(options: Namespace) -> None:
    service = Service.load(options.service) if options.service else None
    for unit in _units(options):
        print(unit.device)
        for path in Issued(options.ca).of(unit.device) if options.ca else ():
            leaf = Certificate.load(path)
            print(f"  certificate {path.name}: {leaf.validity()}, {leaf.days_left()} days left")
        if service:
            twin = service.twin(unit.device)
            reported = twin["properties"]["reported"]
            print(f"  {twin.get('connectionState', 'unknown')}, {twin.get('status', 'unknown')}")
            for key in ("firmware", "model_set", "numbers", "capabilities", "settings", "identity"):
                if key in reported:
                    print(f"  {key}: {_short(reported[key])}")


def recipient(options: Namespace) -> None:
    if not options.operator.exists():
        made = KeyFile.create(options.operator)
        public = options.operator.with_suffix(".pem")
        write_new(public, public_pem(made), mode=0o644)
        print(f"operator's key: {options.operator}; pin {public} as [sealing] operator")
    statement = key_statement.issue(
        _content(options.public),
        serial=options.serial,
        issued_utc_s=int(time.time()),
        operator=KeyFile(options.operator),
    )
    write_new(options.out, statement, mode=0o644)
    print(f"statement {options.serial}: {options.out}")
    if options.service and (options.device or options.list):
        service = Service.load(options.service)

        def one(unit: Unit) -> None:
            service.patch(unit.device, {"recipient": {"statement": statement.decode("ascii")}})

        _each(_units(options), one, "told")


# ---- parts -------------------------------------------------------------------------------------


def _each(
    units: list[Unit], work: Callable[[Unit], None], what: str, at_once: int = AT_ONCE
) -> None:
    failed = fleet.each(units, work, what=what, at_once=at_once)
    if failed:
        raise ProvisioningError(
            f"{len(failed)} of {len(units)} devices failed",
            remedy="mend what is said of each above, then repeat: what is done stays done",
        )


def _units(options: Namespace) -> list[Unit]:
    return fleet.read(options.list) if options.list else [Unit(name) for name in options.device]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror})", remedy="name a readable file"
        ) from error


def _pem(path: Path | None) -> tuple[str, ...]:
    """The first certificate of a file, alone."""
    if path is None:
        return ()
    leaf = Certificate.load(path).leaf
    return (leaf.public_bytes(serialization.Encoding.PEM).decode("ascii"),)


def _key(path: Path | None) -> tuple[str, ...]:
    return (_content(path).decode("ascii", "replace").strip(),) if path else ()


def _newest(issued: Issued, device: str) -> Path:
    found = issued.of(device)
    if not found:
        raise ProvisioningError(
            f"no certificate was issued to {device}",
            remedy="issue one, or let the whole batch in with --group",
        )
    return found[-1]


def public_pem(key: KeyFile) -> bytes:
    return serialization.load_der_public_key(key.public_key()).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "…"
