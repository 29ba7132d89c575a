"""From a line in a list to a connected device, for those whose partition is written here.

A product's device makes its key itself and is given its certificate at the factory. For pilots
and test benches, whose storage is written on this machine, this does all of it in one go and
shows that the device gets in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from firmware.settings import Settings
from firmware.uplink import identity, partition
from firmware.uplink.access import Access
from firmware.uplink.hub import Cloud
from firmware.uplink.watch import Watch
from provisioning.authority import Authority
from provisioning.enrolment import derived_key
from provisioning.fleet import Unit
from provisioning.issued import Issued


class Joining:
    """Joins devices one by one; safe to use from several threads.

    Args:
        folder: gets one identity partition for each device, `folder/<device>`.
        settings: where the services are; site and profile come from the list.
        cloud: the vendor's driver.
    """

    def __init__(self, folder: Path, settings: Settings, cloud: Cloud) -> None:
        self._folder = folder
        self._settings = settings
        self._cloud = cloud

    def certify(self, unit: Unit, authority: Authority, issued: Issued, *, days: int) -> None:
        """Give the device a key and a certificate, unless it has them.

        Raises:
            ProvisioningError: a file cannot be written, or belongs to another device.
        """
        directory = self._folder / unit.device
        request = identity.request(directory, unit.device)
        if not (directory / identity.CERTIFICATE_FILE).exists():
            certificate = authority.device(request, days=days, device=unit.device)
            partition.keep(directory / identity.CERTIFICATE_FILE, certificate)
            issued.keep(unit.device, certificate)

    def share(self, unit: Unit, group_key: str) -> None:
        """Give the device a signing key, and a shared key derived from its group's.

        Raises:
            ProvisioningError: the group's key is unusable, or a file cannot be written.
        """
        directory = self._folder / unit.device
        identity.request(directory, unit.device)
        derived = derived_key(group_key, unit.device).encode("ascii")
        partition.keep(directory / identity.SHARED_KEY_FILE, derived)

    def connect(self, unit: Unit) -> None:
        """Register the device, connect as it, read its twin, and leave.

        Raises:
            ProvisioningError: it is refused.
            UplinkError: a service cannot be reached.
        """
        current = msgspec.structs.replace(
            self._settings,
            identity=msgspec.structs.replace(
                self._settings.identity, directory=str(self._folder / unit.device)
            ),
            hub=msgspec.structs.replace(
                self._settings.hub, site=unit.site, profile=unit.profile, first_contact_s=0.0
            ),
        )
        access = Access(current, unit.device, self._cloud, Watch(), lambda _: None)
        hub = access.open(_Deaf())
        try:
            hub.twin()
        finally:
            hub.close()


class _Deaf:
    """A listener for a visit during which nothing is expected."""

    def lost(self) -> None:
        pass

    def desired(self, properties: dict[str, Any]) -> None:
        pass

    def called(self, request: str, name: str, payload: dict[str, Any]) -> None:
        pass
