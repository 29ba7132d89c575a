"""What a demo shows while it runs: a picture of the whole on a terminal, or plain lines."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from firmware.reader import Opened
from firmware.record import Interaction

_PICTURE = (56, 32)
"""Columns and rows of dots; two rows of dots are one line of text."""
_WIDE = 100
"""Columns of a terminal from which the picture and the hub's view fit beside the rest."""
_SURE = {"none": "", "low": " ●○○", "medium": " ●●○", "high": " ●●●"}


class Screen(Protocol):
    """Where a demo's story goes."""

    def stage(self, what: str) -> None:
        """A step of the preparation is done."""

    def progress(self, what: str, done: float, total: float) -> None:
        """How far it is, in any unit; total 0: nobody knows."""

    def status(self, values: dict[str, Any]) -> None:
        """The sensor's `status` event: totals, visitors in view, hub."""

    def guarantee(self, name: str, *, holds: bool) -> None:
        """Whether one privacy guarantee holds on this machine."""

    def picture(self, pixels: NDArray[np.uint8]) -> None:
        """What the rig shows to the camera, u8 (H, W, 3) BGR."""

    def record(self, opened: Opened, ciphertext: bytes) -> None:
        """A record has arrived and was opened."""

    def close(self) -> None:
        """Leave what is shown last on the screen."""


def screen() -> Screen:
    """For a person at a terminal, or for a log."""
    return Board() if sys.stdout.isatty() else Lines()


class Lines:
    """One plain line for each thing that happens."""

    def __init__(self) -> None:
        self._tenths = ("", 0)

    def stage(self, what: str) -> None:
        print(f"demo: {what}", flush=True)

    def progress(self, what: str, done: float, total: float) -> None:
        tenths = (what, int(4 * done / total) if total else 0)
        if tenths != self._tenths and tenths[1]:
            self._tenths = tenths
            print(f"demo: {what} {25 * tenths[1]} %", flush=True)

    def status(self, values: dict[str, Any]) -> None:
        """Says nothing: a log is read afterwards."""

    def guarantee(self, name: str, *, holds: bool) -> None:
        if not holds:
            print(f"demo: guarantee {name} does not hold here; flow-sensor doctor says why")

    def picture(self, pixels: NDArray[np.uint8]) -> None:
        """Lines have no picture."""

    def record(self, opened: Opened, ciphertext: bytes) -> None:
        row = _row(opened)
        if row:
            number, age, gender, expression, dwell, _ = (cell.plain for cell in row)
            print(
                f"demo: record {number}  age {age}  gender {gender}  expression {expression}  "
                f"dwell {dwell}  ({len(ciphertext)} bytes sealed)",
                flush=True,
            )

    def close(self) -> None:
        """Nothing stays open."""


class Board:
    """A live board: the scene in half blocks, the sensor's state, and the table of records."""

    def __init__(self) -> None:
        self._stages: list[Text] = []
        self._work: tuple[str, float, float] = ("", 0, 0)
        self._status: dict[str, Any] = {}
        self._guarantees: dict[str, bool] = {}
        self._picture: Text | None = None
        console = Console()
        self._wide = console.width >= _WIDE
        self._records = Table(box=SIMPLE_HEAD, title="Opened records", title_justify="left")
        for heading, width in (("No.", 3), ("Age", 9), ("Gender", 10), ("Expression", 12)):
            self._records.add_column(heading, min_width=width, no_wrap=True)
        self._records.add_column("Dwell", justify="right", min_width=6)
        self._records.add_column("Looked", justify="right", min_width=6)
        if self._wide:
            self._records.add_column("What the hub saw", style="dim", no_wrap=True)
        self._live = Live(console=console, refresh_per_second=5)
        self._live.start()

    def stage(self, what: str) -> None:
        self._stages.append(Text.assemble(("✓ ", "bold green"), what))
        self._draw()

    def progress(self, what: str, done: float, total: float) -> None:
        self._work = (what, done, total)
        self._draw()

    def status(self, values: dict[str, Any]) -> None:
        self._status = values
        self._draw()

    def guarantee(self, name: str, *, holds: bool) -> None:
        self._guarantees[name] = holds
        self._draw()

    def picture(self, pixels: NDArray[np.uint8]) -> None:
        self._picture = _half_blocks(cv2.resize(pixels, _PICTURE, interpolation=cv2.INTER_AREA))

    def record(self, opened: Opened, ciphertext: bytes) -> None:
        row = _row(opened)
        if row:
            seen = Text(f"{len(ciphertext):,} bytes  {ciphertext[-12:].hex(' ', 4)} …")
            self._records.add_row(*row, *([seen] if self._wide else []))
            self._draw()

    def close(self) -> None:
        self._picture = None
        self._status = {}  # the last one is some time old by now
        self._draw()
        self._live.stop()

    def _draw(self) -> None:
        what, done, total = self._work
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(what, style="bold"),
            ProgressBar(total=total or None, completed=done, width=40, pulse=not total),
            Text(f"{done:.0f} of {total:.0f} s" if total else f"{done:.0f} s"),
        )
        state = Group(*self._stages, Text(), *self._state())
        middle: RenderableType = state
        if self._picture and self._wide:
            middle = Table.grid(padding=(0, 2))
            middle.add_row(self._picture, state)
        self._live.update(
            Group(
                Panel(
                    middle, title="[bold]FLOW sensor[/]", title_align="left", border_style="cyan"
                ),
                bar,
                self._records,
            )
        )

    def _state(self) -> list[Text]:
        if not self._status:
            return []
        now = self._status
        sealed = now["waiting"] + now["delivered"] + now["dropped"]
        kept = sum(self._guarantees.values())
        hub = ("connected", "green") if now["connected"] else ("away", "yellow")
        return [
            Text.assemble("in view    ", ("● " * now["visitors_now"] or "nobody", "bold cyan")),
            Text.assemble("frames     ", (f"{now['frames_per_s_x10'] / 10:.0f}/s", "bold")),
            Text.assemble("sealed     ", (str(sealed), "bold")),
            Text.assemble("waiting    ", (str(now["waiting"]), "bold")),
            Text.assemble("delivered  ", (str(now["delivered"]), "bold green")),
            Text.assemble("hub        ", hub),
            Text.assemble(
                "privacy    ",
                (f"{kept} of {len(self._guarantees)}", "bold green"),
                " guarantees hold here",
            ),
        ]


def _row(opened: Opened) -> list[Text] | None:
    """A record's cells; None for a health record."""
    record = opened.record
    if not isinstance(record, Interaction):
        return None
    age, gender, expression = record.age, record.gender, record.expression

    def estimate(value: str, confidence: str) -> Text:
        known = "bold" if value != "unknown" else "dim"
        return Text.assemble((value, known), (_SURE[confidence], "dim cyan"))

    return [
        Text(str(opened.number), style="bold cyan"),
        estimate(age.category.value, age.confidence),
        estimate(gender.value.value, gender.confidence),
        estimate(expression.dominant.value, expression.confidence),
        Text(f"{record.dwell_ms / 1000:.1f} s"),
        Text(f"{record.attention_ms / 1000:.1f} s"),
    ]


def _half_blocks(dots: NDArray[np.uint8] | Any) -> Text:
    """A small picture as text: each character is two dots, the upper one in its own colour."""
    text = Text(no_wrap=True)
    for above, below in zip(dots[::2].tolist(), dots[1::2].tolist(), strict=True):
        for (b, g, r), (b2, g2, r2) in zip(above, below, strict=True):
            text.append("▀", style=f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        text.append("\n")
    text.right_crop(1)
    return text
