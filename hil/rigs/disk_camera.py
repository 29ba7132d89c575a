"""A camera that is a second disk of an emulated machine, with a clip on it."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attr
import cv2
import numpy as np
from labgrid.driver import Driver
from labgrid.factory import target_factory

from firmware.vision import models
from hil import report
from hil.rigs import clips as rig_clips
from hil.rigs.parts import CameraProtocol

_READY_S = 900.0
"""The longest that vision takes to load and test itself in an emulator on a busy machine."""


@target_factory.reg_driver
@attr.s(eq=False)
class DiskCamera(Driver, CameraProtocol):
    """A clip on a second disk, which the sensor plays as fast as it can, in the clip's own time.

    Behind the scene comes a long time in which nobody is there. The disk also holds the models,
    with a detector of its own width. Each visitor's face is classified twice only.

    Args:
        every: only each so many-th frame of a clip is shown: an emulated processor needs a second
            and more for one.
        tail: frames without anybody behind a scene.
        detector_px: width of the detector's input.
        gap: frames without anybody between a scene that was cued and the same scene once more,
            until which the first one's records have arrived.
    """

    bindings = {  # noqa: RUF012 - labgrid reads it from the class
        "machine": "QemuMachine",
        "board": "ImageBoard",
        "cloud": "LocalCloud",
    }
    every: int = attr.ib(default=5)
    tail: int = attr.ib(default=6000)
    gap: int = attr.ib(default=2)
    detector_px: int = attr.ib(default=160)

    def on_activate(self) -> None:
        self.target.activate(self.machine)
        self._models = models_for(self.detector_px)
        self.target.activate(self.cloud)
        self._again: Path | None = None
        self._first = self._frames = self._heard = 0
        self._write()

    def settings(self) -> dict[str, dict[str, Any]]:
        return {
            "source": {"uri": "/media/scene/clip.mp4", "realtime": False},
            "detection": {"width_px": self.detector_px},
            "models": {"directory": "/media/scene/models"},
            "attributes": {"crops_per_track": 2},
        }

    def cue(self, clip: Path) -> None:
        """Twice, since a start of the sensor takes longer than most scenes."""
        self._write(clip, clip)
        self._again = clip
        self._first, self._frames = 0, self._length(clip)
        self._heard = len(self.cloud.health_of_all())

    def begin(self) -> None:
        """It plays since the sensor has been started."""

    def show(self, clip: Path) -> None:
        again, self._again = self._again, None
        if again == clip:  # it comes by itself
            self._first = self._frames
            return
        # Stopping the supervisor makes vision end, but does not wait until it has.
        self.board.run("systemctl stop flow-supervisor 'flow-vision@*'", timeout_s=120)
        self.board.run("systemctl stop media-scene.mount")
        self._write(clip)
        self.board.run("systemctl start --no-block media-scene.mount flow-supervisor")
        looks = self._looks()
        self._first, self._frames = 0, self._length(clip) if looks else 0
        self._heard = len(self.cloud.health_of_all())

    def _looks(self) -> bool:
        """Wait until the sensor looks; False when it will not, as long as nobody knows the time."""
        since = "$(systemctl show --value -p ActiveEnterTimestamp flow-supervisor)"
        said = f"journalctl -q -o cat -u 'flow-vision@*' --since \"{since}\""
        timed = "systemctl is-active --quiet time-sync.target"
        ready = f"{timed} && {said} | grep -q vision_ready && echo looks"
        words = f"until {ready} || {{ ! {timed} && echo waits; }}; do sleep 5; done"
        return "looks" in self.board.run(words, timeout_s=_READY_S)

    def position_s(self) -> float | None:
        """By the frames that the sensor says it has seen, which it cannot without a network."""
        if not self.machine.linked:
            return None
        said = self.cloud.health_of_all()[self._heard :]
        seen = said[-1]["frames"] - self._first if said else 0
        rate = rig_clips.FRAMES_PER_S / self.every
        return max(seen, 0) / rate if seen < self._frames else math.inf

    def _write(self, *clips: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="flow-rig-") as name:
            content, image = Path(name) / "content", Path(name) / "scene.img"
            content.mkdir()
            shutil.copyfile(self._drawn(clips), content / "clip.mp4")
            shutil.copytree(self._models, content / "models")
            words = ["mke2fs", "-q", "-t", "ext4", "-L", "scene", "-d", str(content), str(image)]
            subprocess.run([*words, "64M"], check=True, capture_output=True)
            if self.machine.scene.exists():
                with self.machine.scene.open("r+b") as scene:  # in place: the machine has it open
                    scene.write(image.read_bytes())
            else:
                shutil.copyfile(image, self.machine.scene)

    def _length(self, clip: Path) -> int:
        """Frames that are shown of a clip, with those until it comes again."""
        shown = cv2.VideoCapture(str(clip))
        frames = int(shown.get(cv2.CAP_PROP_FRAME_COUNT))
        shown.release()
        return -(-frames // self.every) + self.gap

    def _drawn(self, clips: Sequence[Path]) -> Path:
        """Some frames of each clip, then nobody."""
        name = "-".join([clip.stem for clip in clips] or ["nobody"])
        kept = rig_clips.FOLDER / f"{name}-{self.every}-{self.gap}-{self.tail}.mp4"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_name(f"partial-{os.getpid()}.mp4")
            thin(clips, partial, every=self.every, gap=self.gap, tail=self.tail)
            partial.replace(kept)
        return kept


def thin(clips: Sequence[Path], into: Path, *, every: int, gap: int, tail: int) -> None:
    """Draw what a `DiskCamera` shows of clips; see there."""
    size, rate = (rig_clips.WIDTH_PX, rig_clips.HEIGHT_PX), rig_clips.FRAMES_PER_S / every
    nobody = np.full((size[1], size[0], 3), 170, np.uint8)
    writer = cv2.VideoWriter(str(into), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    for clip in clips:
        shown = cv2.VideoCapture(str(clip))
        number = 0
        while shown.grab():
            if number % every == 0:
                writer.write(shown.retrieve()[1])
            number += 1
        shown.release()
        for _ in range(gap):
            writer.write(nobody)
    for _ in range(tail):
        writer.write(nobody)
    writer.release()


def models_for(detector_px: int) -> Path:
    """The product's models, the detector at this width; → their folder."""
    cache = report.ROOT / "build" / "hil" / f"models-{detector_px}"
    words = [sys.executable, "-m", "trt_engines", "convert", "--width", str(detector_px)]
    if not cache.exists():
        partial = cache.with_name(f"partial-{os.getpid()}")
        shutil.copytree(models.cache_directory() / "sources", partial / "sources")
        environment = {**os.environ, "FLOW_SENSOR_CACHE": str(partial)}
        subprocess.run(words, env=environment, cwd=report.ROOT, check=True, capture_output=True)
        with contextlib.suppress(OSError):  # a rig beside this one was quicker
            partial.rename(cache)
        shutil.rmtree(partial, ignore_errors=True)
    return cache / "models"
