"""What a hub keeps on disk: registries, twins, sessions, enrolments and registrations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cryptography import x509

from hil.local_hub.credentials import check_keys, check_name
from hil.local_hub.dps import Provisioning, Registration
from hil.local_hub.enrolment import Enrolment
from hil.local_hub.iot_hub import Device, IotHub
from hil.local_hub.twin import Properties
from provisioning.authority import pem


def save(path: Path, hubs: Mapping[str, IotHub], provisioning: Provisioning) -> None:
    """Write everything, atomically."""
    tree = {
        "hubs": {
            name: [device_tree(device) for device in hub.devices.values()]
            for name, hub in hubs.items()
        },
        "enrolments": [enrolment_tree(one) for one in provisioning.enrolments.values()],
        "registrations": [asdict(one) for one in provisioning.registrations.values()],
    }
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(tree, file)
    partial.replace(path)


def load(path: Path, hubs: Mapping[str, IotHub], provisioning: Provisioning) -> None:
    """Read what `save` wrote; a hub that no longer exists is left out."""
    if not path.exists():
        return
    tree = json.loads(path.read_text())
    for name, devices in tree["hubs"].items():
        if name in hubs:
            hubs[name].devices = {one["id"]: device(one) for one in devices}
    provisioning.enrolments = {one["name"]: enrolment(one) for one in tree["enrolments"]}
    provisioning.registrations = {one["id"]: Registration(**one) for one in tree["registrations"]}


def device_tree(one: Device) -> dict[str, Any]:
    bare = asdict(replace(one, certificates=(), subscriptions=set()))
    return {
        **bare,
        "certificates": pems(one.certificates),
        "subscriptions": sorted(one.subscriptions),
    }


def device(tree: Mapping[str, Any]) -> Device:
    """A device from JSON; whatever is left out has its default.

    Raises:
        TypeError, ValueError: a field is unknown or wrong.
    """
    fields: dict[str, Any] = {
        **tree,
        "keys": tuple(tree.get("keys", ())),
        "thumbprints": tuple(one.upper() for one in tree.get("thumbprints", ())),
        "certificates": _certificates(tree.get("certificates", ())),
        "desired": Properties(**tree.get("desired", {})),
        "reported": Properties(**tree.get("reported", {})),
        "subscriptions": set(tree.get("subscriptions", ())),
    }
    check_name(fields["id"])
    check_keys(fields["keys"])
    return Device(**fields)


def enrolment_tree(one: Enrolment) -> dict[str, Any]:
    return {
        **asdict(replace(one, certificates=())),
        "certificates": pems(one.certificates),
    }


def enrolment(tree: Mapping[str, Any]) -> Enrolment:
    """An enrolment from JSON; whatever is left out has its default.

    Raises:
        TypeError, ValueError: a field is unknown or wrong.
    """
    fields: dict[str, Any] = {
        **tree,
        "keys": tuple(tree.get("keys", ())),
        "hubs": tuple(tree.get("hubs", ())),
        "certificates": _certificates(tree.get("certificates", ())),
    }
    check_name(fields["name"])
    check_keys(fields["keys"])
    return Enrolment(**fields)


def pems(certificates: Iterable[x509.Certificate]) -> list[str]:
    return [pem(one).decode() for one in certificates]


def _certificates(pems: tuple[str, ...] | list[str]) -> tuple[x509.Certificate, ...]:
    return tuple(one for text in pems for one in x509.load_pem_x509_certificates(text.encode()))
