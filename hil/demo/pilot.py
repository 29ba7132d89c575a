"""Everything that one sensor needs to run against a hub on this machine, made from nothing.

An authority for the pilot, a device with a key and a certificate of its own, a recipient's key
pair, and the settings file that names them: what an operator does with `flow-provision` and
`flow-sensor keygen`, in one folder.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware.device_trust import DeviceTrust
from firmware.reader import Reader
from firmware.recipient import PrivateKey, keygen
from firmware.uplink import identity
from hil.local_hub import Service
from provisioning.authority import Authority, pem
from provisioning.issued import Issued

DEVICE = "demo-sensor"
ID_SCOPE = "0ne00000000"
"""The local hub's own, unless it is told another."""


@dataclass(frozen=True)
class Pilot:
    """The files of one sensor.

    Attributes:
        settings: TOML file for `flow-sensor run`.
        secret: the recipient's private key file, which no device ever sees.
        issued: folder with the certificates that were issued.
        roots: PEM file with the authority's root.
    """

    settings: Path
    secret: Path
    issued: Path
    roots: Path

    def reader(self) -> Reader:
        """Opens what this sensor sends, and believes only what its authority has issued."""
        trust = DeviceTrust.from_folder(self.issued, self.roots.read_bytes())
        return Reader([PrivateKey.load(self.secret)], trust)


def make(
    folder: Path,
    hub: Service,
    host: str,
    *,
    source: str,
    more: Mapping[str, Mapping[str, str | float]] | None = None,
) -> Pilot:
    """Provision a sensor; it finds its hub by itself, through the registration service.

    Args:
        folder: where its files go; nothing may be in it yet.
        host: the hub's address.
        source: camera or clip, for `[source] uri`.
        more: further settings, by section.

    Raises:
        SensorError: a file cannot be written, or the hub refuses the enrolment.
    """
    root = Authority.root("Pilot root")
    batch = root.batch("Pilot batch")
    issued = Issued(folder / "authority")
    roots = folder / "authority" / "root.pem"
    partition = folder / "identity"
    request = identity.request(partition, DEVICE)
    certificate = batch.device(request, days=90, device=DEVICE)
    (partition / identity.CERTIFICATE_FILE).write_bytes(certificate)
    issued.keep(DEVICE, certificate)
    roots.write_bytes(pem(root.certificate))
    hub.enrol("pilot", group=True, certificates=[batch.certificate])
    secret, public = keygen(folder / "recipient")
    settings = folder / "sensor.toml"
    values: dict[str, dict[str, str | float]] = {
        "source": {"uri": source},
        "sealing": {"recipient": str(public)},
        "identity": {"directory": str(partition)},
        "hub": {
            "id_scope": ID_SCOPE,
            "provisioning_host": host,
            "trust": str(hub.trust.resolve()),
            "retry_s": 0.5,
            "first_contact_s": 0.0,
        },
    }
    for section, pairs in (more or {}).items():
        values[section] = {**values.get(section, {}), **pairs}
    settings.write_text(
        "\n".join(
            f"[{section}]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in pairs.items())
            for section, pairs in values.items()
        ),
        encoding="utf-8",
    )
    return Pilot(settings, secret, folder / "authority" / "issued", roots)


def loopback() -> str:
    """An address of this machine that hardly anybody else uses: the SDK knows one port only."""
    return f"127.{128 + os.getpid() % 100}.{random.randrange(256)}.{random.randrange(1, 255)}"
