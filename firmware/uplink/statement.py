"""The recipient's key as this device knows it, across rotations.

The image, or the settings, bring a first key. With an operator's key pinned, that key and every
later one come as signed statements, and the newest is kept on the identity partition.
"""

from __future__ import annotations

from pathlib import Path

from firmware import key_statement
from firmware.errors import SealError
from firmware.sealing import Recipient
from firmware.uplink import partition

FILE = "recipient.statement"


class RecipientKey:
    """Which key to seal to.

    Args:
        directory: the identity partition.
        operator_pem: the pinned operator key; empty: the key never changes.
        given: what the settings name: a public key file or, with an operator, a statement.

    Attributes:
        content: the newest good one of `given` and what is stored.
        recipient: the key in it.

    Raises:
        SealError: none of them is good.
    """

    recipient: Recipient

    def __init__(self, directory: Path, operator_pem: bytes, given: bytes) -> None:
        self._path = directory / FILE
        self._operator_pem = operator_pem
        self._key = key_statement.RecipientKey(operator_pem)
        self.content = b""
        stored = self._path.read_bytes() if operator_pem and self._path.exists() else b""
        faults = []
        for content in (given, stored):  # an image may bring a newer one than what is stored
            try:
                self._take(content)
            except SealError as error:
                faults.append(error)
        if not self.content:
            raise faults[0]

    def accept(self, statement: str) -> bool:
        """Take a statement from the twin; True when it differs from the present one.

        Raises:
            SealError: no operator is pinned, or the statement is not his, altered or old.
            ProvisioningError: it cannot be kept.
        """
        content = statement.encode("utf-8")
        if content == self.content:
            return False
        if not self._operator_pem:
            raise SealError(
                "the recipient's key cannot be changed: no operator is pinned",
                remedy="set [sealing] operator in the device's image",
            )
        self._take(content)
        partition.keep(self._path, content)
        return True

    def _take(self, content: bytes) -> None:
        self.recipient = self._key.take(content)
        self.content = content
