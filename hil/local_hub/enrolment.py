"""Who may register with DPS, and how he proves that he is the one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from cryptography import x509

from hil.local_hub.credentials import Chain, anchor, common_name, derived_key, token_expiry

Reprovision = Literal["keep_twin", "reset_twin", "never"]


@dataclass(frozen=True, slots=True)
class Registrant:
    id: str
    chain: Chain
    token: str


@dataclass(slots=True)
class Enrolment:
    """Who may register: one device (`group` false, name = registration id) or a group of them."""

    name: str
    group: bool = False
    keys: tuple[str, ...] = ()
    """Base64: the device's own keys, or the keys that a group's devices' are derived from."""
    certificates: tuple[x509.Certificate, ...] = ()
    """The device's own, or the authorities that a group's certificates lead to."""
    hubs: tuple[str, ...] = ()
    """Hubs to choose from by a hash of the registration id; empty: all."""
    device_id: str = ""
    """Name in the hub when it is not the registration id (individual enrolments)."""
    enabled: bool = True
    desired: dict[str, Any] = field(default_factory=dict)
    payload: Any = None
    """Handed to the device with its assignment."""
    reprovision: Reprovision = "keep_twin"

    def accepts(self, registrant: Registrant, id_scope: str, now_s: float) -> bool:
        """Whether the registrant proves to be the one, or one of those, that this is about."""
        if registrant.chain:
            trusted = anchor(registrant.chain, self.certificates, now_s) is not None
            return trusted and common_name(registrant.chain[0]) == registrant.id
        resource = f"{id_scope}/registrations/{registrant.id}"
        keys = self.device_keys(registrant.id)
        return token_expiry(registrant.token, resource, keys, now_s) is not None

    def device_keys(self, registration_id: str) -> tuple[str, ...]:
        """The symmetric keys of one device, base64."""
        if not self.group:
            return self.keys
        return tuple(derived_key(key, registration_id) for key in self.keys)
