"""Interaction numbers: sequential for each device, never used twice, whatever happens.

Numbers are reserved in blocks. The end of the newest block stands in one tiny file on the
identity partition before its first number is used, and is mirrored in the twin; after a restart
or a power cut numbering goes on behind it. The unused rest of a block is a gap that the service
can see: it bounds what may have been lost.
"""

from __future__ import annotations

import os
from pathlib import Path

from firmware.errors import ProvisioningError

BLOCK = 256


class NumberFile:
    """The reservation on disk: the last number that may have been used.

    Args:
        path: the file; its folder must exist and be writable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def last(self) -> int | None:
        """The high-water mark, or None on a device that has never reserved one.

        Raises:
            ProvisioningError: the file cannot be read or is no number.
        """
        try:
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._broken(type(error).__name__) from error
        if not (text.endswith("\n") and text[:-1].isdecimal() and len(text) <= 20):
            raise self._broken("content is not one number")
        return int(text)

    def reserve(self, after: int) -> range:
        """Reserve the block that begins behind both `after` and the mark on disk.

        Raises:
            ProvisioningError: the reservation cannot be made durable; no number may be used.
        """
        first = max(after, self.last() or 0) + 1
        block = range(first, first + BLOCK)
        draft = self.path.with_suffix(".new")
        try:
            with draft.open("w", encoding="ascii") as file:
                file.write(f"{block[-1]}\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise ProvisioningError(
                f"numbers cannot be reserved in {self.path} ({error.strerror})",
                remedy="make the identity partition writable for the supervisor and check that "
                "it is not full",
            ) from error
        return block

    def _broken(self, why: str) -> ProvisioningError:
        return ProvisioningError(
            f"number file {self.path} is damaged ({why})",
            remedy="remove it: the device then takes the mark from its twin at the next contact",
        )


class Numbers:
    """Hands reserved numbers out to vision as leases.

    Args:
        file: the durable reservation.
    """

    def __init__(self, file: NumberFile) -> None:
        self._file = file
        self._used = 0  # the highest number that was sealed, or that may have been elsewhere
        self._end = 0  # the highest number that this supervisor has reserved

    @property
    def known(self) -> bool:
        """Whether this device knows where to go on without asking its twin."""
        return self._file.last() is not None

    @property
    def mark(self) -> int:
        """The highest number reserved, to be mirrored in the twin; 0 when none ever was."""
        return self._end or self._file.last() or 0

    def start_after(self, mark: int) -> bool:
        """Never lease `mark` or less (what the twin says). Returns whether a lease that was
        given before is void by that."""
        if mark <= self._end:
            return False
        void = self._end > 0
        self._used = self._end = mark
        return void

    def lease(self) -> range:
        """Numbers for a new vision process: the rest of what is reserved, or a new block."""
        if self._used >= self._end:
            block = self._file.reserve(self._end)
            self._used, self._end = block[0] - 1, block[-1]
        return range(self._used + 1, self._end + 1)

    def seal(self, number: int) -> range | None:
        """Note that `number` was sealed. Returns one more lease when few numbers are left."""
        self._used = max(self._used, number)
        if self._end - self._used > BLOCK // 4:
            return None
        more = self._file.reserve(self._end)
        self._end = more[-1]
        return more
