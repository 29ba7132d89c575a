"""A new key and certificate beside the old ones, until they have proven themselves.

The device makes a second key, reports a request for it in its twin, and finds the certificate in
its desired properties. It connects once with the new identity. Only when that worked does the new
identity take the old one's place; otherwise the old one stays in use and the reason is reported.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from firmware.errors import ProvisioningError, SensorError
from firmware.uplink import partition
from firmware.uplink.identity import (
    CERTIFICATE_FILE,
    KEY_FILE,
    Certificate,
    Identity,
    KeyFile,
)

NEXT_KEY_FILE = "next.key"
NEXT_CERTIFICATE_FILE = "next.pem"
BEFORE_DAYS = 30
"""A certificate with fewer days left is renewed."""
RETRY_S = 600.0


class _Rejected(NamedTuple):
    leaf: x509.Certificate
    reason: ProvisioningError
    until: float


class Rotation:
    """The second identity on the identity partition.

    Args:
        directory: the identity partition.
        identity: what is in use.

    Attributes:
        candidate: an identity that waits for its one trial.
    """

    def __init__(self, directory: Path, identity: Identity) -> None:
        self.current = identity
        self.candidate: Identity | None = None
        self._directory = directory
        self._device = identity.device
        self._rejected: _Rejected | None = None

    @property
    def due(self) -> bool:
        """Whether the certificate in use ends soon."""
        certificate = self.current.certificate
        return certificate is not None and certificate.days_left() < BEFORE_DAYS

    def request(self) -> str:
        """A certificate request in PEM for the next key, which is made when there is none.

        Raises:
            ProvisioningError: this device has no certificate to renew, or the key cannot be made.
        """
        if self.current.certificate is None:
            raise ProvisioningError(
                "this device shows a shared key, not a certificate",
                remedy="enrol it again to change the key",
            )
        path = self._directory / NEXT_KEY_FILE
        key = KeyFile(path) if path.exists() else KeyFile.create(path)
        return key.request(self._device).decode()

    def accept(self, pem: str) -> bool:
        """Keep a certificate for the next key as the candidate.

        Returns: False when it is the one in use.

        Raises:
            ProvisioningError: it is for another key or device, out of date, or no certificate;
                or this process has tried it and it failed.
        """
        path = self._directory / NEXT_CERTIFICATE_FILE
        certificate = Certificate.parse(pem.encode("utf-8"), path)
        if self.current.certificate and certificate.leaf == self.current.certificate.leaf:
            return False
        known = self._rejected
        if known and known.leaf == certificate.leaf and time.monotonic() < known.until:
            raise known.reason
        key = KeyFile(self._directory / NEXT_KEY_FILE)
        certificate.check(key, self._device)
        partition.keep(path, pem.encode("utf-8"))
        self.candidate = Identity(self._device, key, certificate)
        return True

    def take_candidate(self) -> Identity | None:
        """The candidate, for its one trial."""
        candidate, self.candidate = self.candidate, None
        return candidate

    def reject(self, candidate: Identity, error: SensorError) -> None:
        """The trial failed; the certificate gets another one only when no service refused it,
        and not soon."""
        assert candidate.certificate
        reason = ProvisioningError(
            f"the new certificate failed: {error.problem}", remedy="see the device's log"
        )
        refused = isinstance(error, ProvisioningError)
        until = math.inf if refused else time.monotonic() + RETRY_S
        self._rejected = _Rejected(candidate.certificate.leaf, reason, until)

    def promote(self) -> None:
        """The trial went well: the next identity becomes the one in use.

        Two renames; `settle` finishes what a power cut leaves between them.

        Raises:
            ProvisioningError: the identity partition cannot be written.
        """
        try:
            (self._directory / NEXT_KEY_FILE).replace(self._directory / KEY_FILE)
            (self._directory / NEXT_CERTIFICATE_FILE).replace(self._directory / CERTIFICATE_FILE)
        except OSError as error:
            raise partition.unwritable(self._directory, error) from error
        self.current = Identity.load(self._directory, self._device)


def settle(directory: Path) -> None:
    """Finish a promotion that was cut off between its two renames."""
    key, waiting = directory / KEY_FILE, directory / NEXT_CERTIFICATE_FILE
    if not waiting.exists() or (directory / NEXT_KEY_FILE).exists():
        return
    try:
        fits = Certificate.load(waiting).certifies(KeyFile(key))
    except ProvisioningError:
        fits = False
    try:
        if fits:
            waiting.replace(directory / CERTIFICATE_FILE)
        else:
            waiting.unlink()
    except OSError as error:
        raise partition.unwritable(directory, error) from error
