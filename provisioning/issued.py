"""The certificates that were issued: what the reader trusts, and what a revocation takes away.

`issued/` holds one PEM file for each certificate; the reader's `--devices` names that folder.
Renewed certificates stand beside older ones, because records signed before a roll-over stay true.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from firmware.errors import ProvisioningError
from provisioning.authority import write_new


class Issued:
    """The folder `issued` below the authority's.

    Args:
        authority: the folder that `init-ca` made.
    """

    def __init__(self, authority: Path) -> None:
        self._folder = authority / "issued"
        self._revoked = authority / "revoked"

    def keep(self, device: str, pem: bytes) -> Path:
        """File a certificate; returns its path.

        Raises:
            ProvisioningError: the folder cannot be written.
        """
        serial = x509.load_pem_x509_certificates(pem)[0].serial_number
        path = self._folder / f"{device}+{serial:x}.pem"
        write_new(path, pem, mode=0o644)
        return path

    def of(self, device: str) -> list[Path]:
        """A device's certificates, the newest last."""
        found = self._folder.glob(f"{device}+*.pem")
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)

    def revoke(self, device: str) -> int:
        """Take a device's certificates away from the reader; returns how many.

        Raises:
            ProvisioningError: the folder cannot be written.
        """
        paths = self.of(device)
        try:
            for path in paths:
                self._revoked.mkdir(exist_ok=True)
                path.replace(self._revoked / path.name)
        except OSError as error:
            raise ProvisioningError(
                f"{self._folder} cannot be changed ({error.strerror})",
                remedy="run this where the authority's folder can be written",
            ) from error
        return len(paths)
