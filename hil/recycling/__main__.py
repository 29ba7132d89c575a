"""`python -m hil.recycling`: a whole sensor whose vision is replaced after every two visitors."""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from firmware import launcher, messages, settings
from firmware.envelope import Suite, split
from firmware.recipient import PrivateKey
from firmware.supervisor import Supervisor
from hil import report
from hil.recycling import hall
from hil.recycling.vision import LOOKED

RECYCLE_AFTER = 2


class Rig:
    """A supervisor over real vision processes.

    Attributes:
        sealed: envelopes, as they reach the outbox.
    """

    def __init__(self, folder: Path, key: PrivateKey, recycle_after: int) -> None:
        (folder / "numbers").write_text("0\n")
        self.sealed: list[bytes] = []
        self._looked, self._write = os.pipe()
        fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, 1 << 20)
        self._camera = os.open(folder / "camera", os.O_RDWR | os.O_CREAT)
        self._began_ns = time.monotonic_ns()
        tree = {
            "source": {"uri": "scene://hall", "width_px": 640, "height_px": 360},
            "identity": {"directory": str(folder)},
            "privacy": {"recycle_after": recycle_after},
        }
        self._keeper = Supervisor(
            settings.check(tree),
            device="bench-1",
            recipient_key=key.public_bytes(),
            start=self._start,
        )
        put = self._keeper.outbox.put

        def note(number: int, envelope: bytes) -> bool:
            self.sealed.append(envelope)
            return put(number, envelope)

        self._keeper.outbox.put = note  # type: ignore[method-assign]

    def run(self) -> list[int]:
        """Run to the end of the scene; returns for each replacement the milliseconds between the
        last frame that one process looked at and the first of the next."""
        self._keeper.run()
        os.close(self._write)
        with os.fdopen(self._looked, "rb") as looked:
            frames = list(LOOKED.iter_unpack(looked.read()))
        period_ms = 1000 / hall.SCRIPT.camera.frames_per_s
        return [
            round((index - before) * period_ms)
            for (process, before), (other, index) in itertools.pairwise(frames)
            if other != process
        ]

    def _start(self, name: launcher.Name) -> launcher.Child:
        ours, theirs = messages.pair()
        files = (theirs.fileno(), self._write, self._camera)
        facts = map(str, (self._began_ns, self._write, self._camera))
        variables = dict(zip(hall.VARIABLES, facts, strict=True))
        with theirs:
            program = [sys.executable, "-m", f"hil.recycling.{name}", "--channel", str(files[0])]
            process = subprocess.Popen(
                program,
                env=launcher.environment(name) | variables,
                pass_fds=files,
                start_new_session=True,
            )
        return launcher.Child(process, ours)


def measured(recycle_after: int) -> tuple[int, list[int]]:
    """Interactions that were counted, all of them opened, and the gaps in ascending order."""
    key = PrivateKey.generate(Suite.MLKEM768_X25519)
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder), key, recycle_after)
        gaps = sorted(rig.run())
    for envelope in rig.sealed:
        _, info, ciphertext = split(envelope)
        key.decrypt(ciphertext, info)
    return len(rig.sealed), gaps


def main() -> None:
    counted, gaps = measured(RECYCLE_AFTER)
    undisturbed, _ = measured(0)
    figures = {
        "visitors": hall.VISITORS,
        "counted": counted,
        "counted_without_recycling": undisturbed,
        "replacements": len(gaps),
        "gap_ms_median": gaps[len(gaps) // 2] if gaps else None,
        "gap_ms_most": gaps[-1] if gaps else None,
    }
    for name, figure in figures.items():
        print(f"{name:<26} {figure:>6}")
    print(report.write("recycling", figures))


if __name__ == "__main__":
    main()
