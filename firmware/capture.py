"""`flow-sensor open`: hub messages that were written to a file → opened records.

A capture holds one message a line, as JSON with at least `device` (the id that the hub
authenticated) and `body` (base64); the local hub writes such a file, and any consumer of the
hub's built-in endpoint can. `-` stands for standard input, so that a growing file can be piped in.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

import msgspec

from firmware.errors import SealError
from firmware.reader import Opened, Reader, Reading
from firmware.record import Interaction

TABLE_HEAD = (
    f"{'device':<20} {'number':>8}  {'time (UTC)':<16} {'dwell':>7} {'attention':>9}  "
    f"{'age':<13} {'gender':<15} expression"
)


class Captured(msgspec.Struct, frozen=True):
    """One hub message; further fields in the line are passed over."""

    device: str
    body: bytes
    message_id: str = ""


@dataclass(slots=True)
class Totals:
    """What a run of `open_captures` met."""

    messages: int = 0
    opened: int = 0
    interactions: int = 0
    duplicates: int = 0
    refused: int = 0
    missing: int = 0

    def __str__(self) -> str:
        return (
            f"messages={self.messages} opened={self.opened} interactions={self.interactions} "
            f"duplicates={self.duplicates} refused={self.refused} missing={self.missing}"
        )


def messages(lines: Iterable[bytes]) -> Iterator[Captured | SealError]:
    """The messages of a capture; a line that is none comes out as the error about it.

    A last line without its end is still being written, and is left out.
    """
    for count, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield _line.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            yield SealError(
                f"line {count} of the capture is no hub message",
                remedy="a line is a JSON object with `device` and `body` (base64)",
            )


def open_captures(
    paths: Iterable[Path],
    reader: Reader,
    *,
    table: bool = False,
    out: TextIO = sys.stdout,
    errors: TextIO = sys.stderr,
) -> Totals:
    """Open every record of some captures and print each once: a line of JSON, or of a table.

    What is refused is reported on `errors`, and reading goes on. It ends when `out` is closed.

    Raises:
        SealError: a file cannot be read.
    """
    totals = Totals()
    if table:
        print(TABLE_HEAD, file=out)
    with ExitStack() as stack:
        for path in paths:
            for message in messages(_open(path, stack)):
                reading = _read(message, reader)
                totals.messages += 1
                totals.duplicates += reading.duplicates
                totals.refused += len(reading.refused)
                for error in reading.refused:
                    print(f"refused: {error.problem}", file=errors)
                for opened in reading.records:
                    totals.opened += 1
                    totals.interactions += opened.kind == "interaction"
                if not _print(reading.records, table, out):
                    return totals
    totals.missing = sum(coverage.missing for coverage in reader.coverage.values())
    return totals


_line = msgspec.json.Decoder(Captured)


def _open(path: Path, stack: ExitStack) -> BinaryIO:
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(path.open("rb"))
    except OSError as error:
        raise SealError(
            f"capture {path} cannot be read ({error.strerror})",
            remedy="pass a file of hub messages, or - for standard input",
        ) from error


def _read(message: Captured | SealError, reader: Reader) -> Reading:
    if isinstance(message, SealError):
        return Reading(refused=[message])
    return reader.read(message.body, message.device)


def _print(records: Iterable[Opened], table: bool, out: TextIO) -> bool:
    """False when nobody reads on, as in `flow-sensor open … | head`."""
    try:
        for opened in records:
            print(_row(opened) if table else _json(opened), file=out, flush=True)
    except BrokenPipeError:
        # What is left in the buffer must go somewhere when the interpreter ends.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), out.fileno())
        return False
    return True


def _json(opened: Opened) -> str:
    return msgspec.json.encode(opened).decode()


def _row(opened: Opened) -> str:
    start = f"{opened.device:<20} {opened.number:>8}  "
    record = opened.record
    if not isinstance(record, Interaction):
        return f"{start}health"
    time = datetime.datetime.fromtimestamp(record.start_utc_s, datetime.timezone.utc)
    gender, age, expression = record.gender, record.age, record.expression
    return (
        f"{start}{time:%Y-%m-%d %H:%M} {record.dwell_ms / 1000:>6.1f}s "
        f"{record.attention_ms / 1000:>8.1f}s  {_word(age.category.value, age.confidence):<13} "
        f"{_word(gender.value.value, gender.confidence):<15} "
        f"{_word(expression.dominant.value, expression.confidence)}"
    )


def _word(value: str, confidence: str) -> str:
    return value if confidence == "none" else f"{value} ({confidence})"
