"""Plays a clip to a sensor in its own processes, and follows sensor and hub until it has ended."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from firmware.errors import SensorError
from hil.demo.arrivals import Arrivals
from hil.demo.terminal import Screen
from hil.local_hub import Event, Service

PATIENCE_S = 120.0
"""Time for start and delivery, beside what a clip lasts."""
STOP_S = 90.0
"""Longer than a sensor takes to seal, deliver and say goodbye."""
_GLANCE_S = 0.2
_RUN = "import sys; from firmware.cli import main; sys.exit(main())"

_Heard = queue.Queue[Event | dict[str, Any] | None]


class Sensor:
    """`flow-sensor run`, in a session of its own: Ctrl-C reaches the demo alone.

    Attributes:
        words: what it said that is no event of its log, such as the error it ended with.
        sealed: interactions that it sealed, known when it has ended.
    """

    def __init__(self, settings: Path) -> None:
        self.words: list[str] = []
        self.sealed = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUN, "run", "--progress", "--settings", str(settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read_log(self, heard: _Heard) -> None:
        """Put every event into the queue, then None when the log has ended."""
        assert self.process.stderr
        for line in self.process.stderr:
            try:
                found = json.loads(line)
                self.sealed = found.get("sealed", self.sealed)
                heard.put(found)
            except (ValueError, AttributeError):
                self.words.append(line.rstrip())
        heard.put(None)

    def end(self) -> None:
        """Ask it to stop in order, and make sure that it does."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise


@contextlib.contextmanager
def sensor(settings: Path) -> Iterator[Sensor]:
    """A sensor for as long as the block runs."""
    started = Sensor(settings)
    try:
        yield started
    finally:
        started.end()


def follow(
    running: Sensor, hub: Service, arrivals: Arrivals, shown: Screen, clip: Path | None
) -> None:
    """Show what happens until the sensor has delivered everything and ended.

    Args:
        clip: the rendered scene, which is shown too; None: somebody's own source, which is not.
    """
    heard: _Heard = queue.Queue()
    for read in (running.read_log, lambda into: _read_hub(hub, into)):
        threading.Thread(target=read, args=(heard,), daemon=True).start()
    scene = _Clip(clip) if clip else None
    patience = time.monotonic() + PATIENCE_S + (scene.seconds if scene else 0.0)
    while True:
        try:
            if scene and time.monotonic() > patience:
                patience += STOP_S
                running.process.terminate()
            if not _next(heard, arrivals, shown, scene):
                return
        except KeyboardInterrupt:
            shown.stage("stopping: what is sealed is still delivered")
            running.process.terminate()


def _next(heard: _Heard, arrivals: Arrivals, shown: Screen, scene: _Clip | None) -> bool:
    """Take one thing that happened, or glance at the scene; False when the sensor has ended."""
    try:
        what = heard.get(timeout=_GLANCE_S)
    except queue.Empty:
        what = {}
    if what is None:
        return False
    if isinstance(what, Event):
        arrivals.take(what)
    else:
        _tell(what, shown, scene)
    if scene:
        scene.show(shown)
    return True


def _tell(event: dict[str, Any], shown: Screen, scene: _Clip | None) -> None:
    """Show what an event of the sensor's log says."""
    match event:
        case {"event": "vision_ready", "start_ms": started}:
            shown.stage(f"vision: ready in {started / 1000:.1f} s")
            if scene:
                scene.start()
        case {"event": "hub_connected"}:
            shown.stage("uplink: connected, TLS and device certificate")
        case {"event": "guarantee", "name": name, "holds": holds}:
            shown.guarantee(name, holds=holds)
        case {"event": "status"}:
            shown.status(event)


def _read_hub(hub: Service, heard: _Heard) -> None:
    with contextlib.suppress(SensorError, OSError, ValueError):  # the hub ends with the demo
        for arrived in hub.watch():
            heard.put(arrived)


class _Clip:
    """The rig's own look at the clip that it plays; the sensor shows nobody a picture."""

    def __init__(self, path: Path) -> None:
        self._capture = cv2.VideoCapture(str(path))
        self._per_s = self._capture.get(cv2.CAP_PROP_FPS)
        self._last = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) - 1
        self.seconds = (self._last + 1) / self._per_s
        self._started = 0.0
        self._next = 0

    def start(self) -> None:
        self._started = time.monotonic()

    def show(self, shown: Screen) -> None:
        """Show the scene as the sensor sees it now, and how far it is."""
        if not self._started:
            return
        since_s = time.monotonic() - self._started
        pixels = self._at(since_s)
        if pixels is not None:
            shown.picture(pixels)
        shown.progress("visitors walk past", min(since_s, self.seconds), self.seconds)

    def _at(self, since_s: float) -> NDArray[np.uint8] | None:
        """The picture at that time; None when there is no newer one."""
        due = min(int(since_s * self._per_s), self._last)
        if self._next > due:
            return None
        while self._next <= due:
            self._capture.grab()
            self._next += 1
        done, pixels = self._capture.retrieve()
        return np.asarray(pixels, np.uint8) if done else None
