"""Which hub is ours: from the settings, from the cache, or from the registration service."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from firmware.errors import ProvisioningError
from firmware.event_log import log
from firmware.uplink import partition

FAILURES = 10
"""So many failed connections in a row make the cached hub doubtful."""
CACHE_FILE = "hub.json"


class _Cache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id_scope: str
    hub: str


class Registration:
    """Finds the hub's name and remembers it on the identity partition.

    Args:
        fixed: the hub from the settings; "" to ask the registration service.
        id_scope: names the registration service's instance.
        directory: the identity partition.
        ask: asks the service: → the assigned hub; raises SensorError.
        first_contact: called before the first request of a new device; waits a while, so that a
            pallet of devices that is switched on at one moment does not stampede.
    """

    def __init__(
        self,
        fixed: str,
        id_scope: str,
        directory: Path,
        ask: Callable[[], str],
        first_contact: Callable[[], None],
    ) -> None:
        self._fixed = fixed
        self._id_scope = id_scope
        self._cache = directory / CACHE_FILE
        self._ask = ask
        self._first_contact = first_contact
        self.took_attempts = 0
        """How often the service was asked for the hub that is in use; 0: it was known."""
        self._failures = 0
        self._attempts = 0

    def hub(self, *, anew: bool = False) -> str:
        """The assigned hub's host name; asked of the service even if it is cached with `anew`.

        Raises:
            ProvisioningError: neither a hub nor a registration service is set, or the service
                refuses the device.
            UplinkError: the service cannot be reached.
        """
        known = self._fixed or ("" if anew else self._cached())
        self.took_attempts = 0
        if known:
            return known
        if not self._id_scope:
            raise ProvisioningError(
                "no hub is known",
                remedy="set [hub] id_scope (registration service) or [hub] host",
            )
        if not self._attempts:
            self._first_contact()
        self._attempts += 1
        assigned = self._ask()
        self._remember(assigned)
        self.took_attempts, self._attempts = self._attempts, 0
        return assigned

    def connected(self) -> None:
        self._failures = 0

    def failed(self, *, refused: bool) -> None:
        """A connection failed: a refusal, or the tenth failure in a row, drops the cached hub."""
        self._failures += 1
        if refused or self._failures >= FAILURES:
            self.forget()

    def forget(self) -> bool:
        """Ask the service at the next connection; False when the settings fix the hub."""
        self._failures = 0
        if self._fixed or not self._id_scope:
            return False
        self._cache.unlink(missing_ok=True)
        return True

    def _cached(self) -> str:
        try:
            cache = msgspec.json.decode(self._cache.read_bytes(), type=_Cache)
        except (OSError, msgspec.DecodeError):
            return ""
        return cache.hub if cache.id_scope == self._id_scope else ""

    def _remember(self, hub: str) -> None:
        try:
            partition.keep(self._cache, msgspec.json.encode(_Cache(self._id_scope, hub)))
        except ProvisioningError:
            log("registration_not_kept")  # it is asked for again after the next restart


def stagger_s(longest_s: float) -> float:
    """A random pause before the first contact, 0 … `longest_s`."""
    return random.uniform(0, longest_s)  # noqa: S311 - spreads load, no secret
