"""Small files on the identity partition, which have to survive a power cut whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from firmware.errors import ProvisioningError


def keep(path: Path, content: bytes) -> None:
    """Write a file durably, in one step, readable by its owner only.

    Raises:
        ProvisioningError: the partition cannot be written.
    """
    draft = path.with_name(path.name + ".new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> ProvisioningError:
    return ProvisioningError(
        f"{path} cannot be written ({error.strerror})",
        remedy="make the identity partition writable for the uplink and check that it is not full",
    )
