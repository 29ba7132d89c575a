"""What tells the registration service which devices may join, and how they prove who they are.

An enrolment is an individual one, for one registration id, or a group's: for all devices whose
certificate leads to a batch's authority, or whose key is derived from the group's key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

from firmware.errors import ProvisioningError


@dataclass(frozen=True)
class Enrolment:
    """One entry for the Device Provisioning Service.

    Attributes:
        name: the registration id, or the group's name.
        group: whether it is a group's.
        certificates: PEM, at most two (the second during a rotation): a device's own, or the
            authorities that a group's certificates lead to.
        keys: base64, at most two, instead of certificates.
        hubs: host names to choose from; empty: all that are linked to the service.
        desired: the twin's first desired properties.
    """

    name: str
    group: bool = False
    certificates: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    hubs: tuple[str, ...] = ()
    desired: dict[str, Any] = field(default_factory=dict)
    enabled: bool = True
    """False for one device of a group: it alone may not join (any more)."""

    @property
    def path(self) -> str:
        """Its place in the service's REST interface."""
        return f"/{'enrollmentGroups' if self.group else 'enrollments'}/{self.name}"

    def body(self) -> dict[str, Any]:
        """JSON for that interface (api-version 2021-10-01)."""
        tree: dict[str, Any] = {
            "enrollmentGroupId" if self.group else "registrationId": self.name,
            "attestation": self._attestation(),
            "provisioningStatus": "enabled" if self.enabled else "disabled",
            "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": True},
            "allocationPolicy": "hashed",
        }
        if self.hubs:
            tree["iotHubs"] = list(self.hubs)
        if self.desired:
            tree["initialTwin"] = {"properties": {"desired": self.desired}}
        return tree

    def _attestation(self) -> dict[str, Any]:
        ranks = ("primary", "secondary")
        if self.certificates:
            shown = {
                rank: {"certificate": pem}
                for rank, pem in zip(ranks, self.certificates, strict=False)
            }
            kind = "signingCertificates" if self.group else "clientCertificates"
            return {"type": "x509", "x509": {kind: shown}}
        keys = {f"{rank}Key": key for rank, key in zip(ranks, self.keys * 2, strict=False)}
        return {"type": "symmetricKey", "symmetricKey": keys}


def derived_key(group_key: str, registration_id: str) -> str:
    """A device's own key from its group's: HMAC-SHA256 of its registration id, base64.

    Raises:
        ProvisioningError: the group's key is no base64 text of 16 to 64 bytes.
    """
    try:
        key = base64.b64decode(group_key.strip(), validate=True)
    except binascii.Error:
        key = b""
    if not 16 <= len(key) <= 64:
        raise ProvisioningError(
            "the group's key is not 16 to 64 bytes in base64",
            remedy="make one: head -c 32 /dev/urandom | base64 > group.key",
        )
    digest = hmac.new(key, registration_id.encode("ascii"), hashlib.sha256).digest()
    return base64.b64encode(digest).decode("ascii")
