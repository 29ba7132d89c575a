"""What privacy costs: time for each frame and each wipe, memory, and visitors missed by it: none.

Processor time is compared, not elapsed time, which follows what else the machine does.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from firmware import launcher, messages, settings
from firmware.errors import PrivacyError
from firmware.recipient import PrivateKey
from firmware.settings import Settings
from firmware.vision import wiping
from hil.scenes.evaluation import pipeline_over
from hil.scenes.render import Scene
from hil.scenes.script import load, standard
from hil.scenes.source import SceneSource
from hil.traces import altered, subject

MOST_WIPE_MS = 60.0
_RUNS = 5
_PATIENCE_S = 300.0

NO_PRIVACY = """
from firmware.vision import sandbox, wiping
sandbox.enter = lambda *_: None
wiping.everything = wiping.of_leavers = lambda *_: None
"""
ORDINARY = {"LD_PRELOAD": None, "GLIBC_TUNABLES": None, "PYTHONMALLOC": None}
"""Variables of the launcher that are there for privacy alone."""


class Cost(NamedTuple):
    """What privacy costs.

    Attributes:
        frame_percent: more processor time for each frame, wipes included, than without.
        frame_ms: processor time for each frame, as shipped.
        wipe_ms_p95: as vision measures it.
        wipes: that this is the 95th percentile of.
        peak_mb, peak_mb_plain: most memory, as shipped and without.
        scenes: that the sensor counted, losing the frames of `MOST_WIPE_MS` at each wipe.
        miscounted: visitors by which these counts are wrong.
    """

    frame_percent: float
    frame_ms: float
    wipe_ms_p95: float
    wipes: int
    peak_mb: float
    peak_mb_plain: float
    scenes: int
    miscounted: int


class _Run(NamedTuple):
    frame_ms: float
    peak_mb: float
    health: messages.VisionHealth


def measure(scene: Path, visits: Path, tell: Callable[[str], None]) -> Cost:
    """Play the scene in turn with privacy and without, and clips of many visits for the wipes.

    Args:
        scene, visits: clips.
    """
    shipped, plain = [], []
    like = launcher.environment("vision")
    for number in range(_RUNS):
        plain.append(_play(scene, lambda: altered.start(NO_PRIVACY, ORDINARY, like=like)))
        shipped.append(_play(scene, lambda: launcher.start("vision")))
        tell(f"run {number + 1}: {shipped[-1].frame_ms:.2f} ms, {plain[-1].frame_ms:.2f} without")
    many = _play(visits, lambda: launcher.start("vision"))
    scenes = standard()
    tell(f"counting in {len(scenes)} scenes, a wipe of {MOST_WIPE_MS:.0f} ms after each visitor")
    miscounted = sum(map(_miscounted, scenes))
    # The least of each: what else a machine does can only add to it.
    with_ms = min(run.frame_ms for run in shipped)
    without_ms = min(run.frame_ms for run in plain)
    return Cost(
        round((with_ms / without_ms - 1) * 100, 2),
        round(with_ms, 2),
        many.health.wipe_ms_p95_x10 / 10,
        many.health.wipes,
        max(run.peak_mb for run in shipped),
        max(run.peak_mb for run in plain),
        len(scenes),
        miscounted,
    )


def _miscounted(path: Path) -> int:
    """By how many visitors the count of a scene is wrong when wipes really happen.

    Each wipe takes away the frames that a camera gives while it lasts.
    """
    script = load(path)
    source = SceneSource(Scene(script))
    lost = math.ceil(MOST_WIPE_MS * source.frames_per_s / 1000)
    counted, dirty = 0, False
    with pipeline_over(source, Settings()) as pipeline:
        frame = pipeline.frame
        while source.read(frame):
            counted += len(pipeline.turn())
            wiped = False
            if pipeline.tracks:
                dirty = True
                if pipeline.parted:
                    wiping.of_leavers(pipeline.engines)
                    wiped = True
            elif dirty:
                wiping.everything(pipeline.engines, source)
                dirty, wiped = False, True
            if wiped:
                for _ in range(lost):
                    source.read(frame)
        counted += len(pipeline.finish())
    return abs(counted - script.interactions)


def _play(clip: Path, start: Callable[[], launcher.Child]) -> _Run:
    """Let vision play a clip to its end, unheld."""
    child = start()
    pid, channel = child.process.pid, child.channel
    channel.settimeout(_PATIENCE_S)
    tree = settings.builtins(subject.rules(clip))
    key = PrivateKey.generate().public_bytes()
    messages.send(channel, messages.StartVision(tree, subject.DEVICE, key))
    messages.send(channel, messages.NumberLease(1, 1 << 16))
    health, peak_kb, began_ns = messages.VisionHealth(), 0, 0
    try:
        while True:
            match messages.receive(channel):
                case messages.VisionReady():
                    began_ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
                case messages.VisionHealth() as health:
                    status = Path(f"/proc/{pid}/status").read_text()
                    peak = re.search(r"VmHWM:\s*(\d+)", status)
                    peak_kb = int(peak[1]) if peak else peak_kb
                case messages.SourceEnded(frames):
                    break
                case None | messages.Failed():
                    raise PrivacyError(
                        "vision ends before the clip does", remedy="run `flow-sensor doctor`"
                    )
    finally:
        channel.close()
        _, _, used = os.wait4(pid, 0)
    cpu_s = used.ru_utime + used.ru_stime - began_ns / 1e9
    return _Run(cpu_s * 1000 / frames, round(peak_kb / 1024, 1), health)
