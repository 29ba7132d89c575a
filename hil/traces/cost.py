"""What privacy costs: time for each frame and each wipe, memory, and visitors missed by it: none.

Processor time is compared, not elapsed time, which follows what else the machine does. It does too,
a little, where processors share caches or a host: so both are measured side by side, in turns on
either processor, and the median of the ratios counts.
"""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
_PAIRS, _RUNS = 6, 3
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
    """Play the scene with privacy and without at the same time, and the clip of many visits for the
    wipes.

    Args:
        scene, visits: clips.
    """
    like = launcher.environment("vision")
    starts = (
        lambda: launcher.start("vision"),
        lambda: altered.start(NO_PRIVACY, ORDINARY, like=like),
    )
    pairs = []
    with ThreadPoolExecutor(2) as both:
        for number in range(_PAIRS):
            shipped, without = both.map(_play, (scene, scene), starts, _processors(number))
            pairs.append((shipped, without))
            tell(f"pair {number + 1}: {shipped.frame_ms:.2f} ms, {without.frame_ms:.2f} without")
    # The least of three: what else a machine does can only add to the time that passes.
    wipes = (_play(visits, starts[0]).health for _ in range(_RUNS))
    many = min(wipes, key=lambda health: health.wipe_ms_p95_x10)
    scenes = standard()
    tell(f"counting in {len(scenes)} scenes, a wipe of {MOST_WIPE_MS:.0f} ms after each visitor")
    miscounted = sum(map(_miscounted, scenes))
    return Cost(
        round((statistics.median(a.frame_ms / b.frame_ms for a, b in pairs) - 1) * 100, 2),
        round(statistics.median(shipped.frame_ms for shipped, _ in pairs), 2),
        many.wipe_ms_p95_x10 / 10,
        many.wipes,
        max(shipped.peak_mb for shipped, _ in pairs),
        max(without.peak_mb for _, without in pairs),
        len(scenes),
        miscounted,
    )


def _processors(turn: int) -> tuple[int, int]:
    """For two processes at a time, one processor each; they change places with every turn."""
    allowed = sorted(os.sched_getaffinity(0))
    first, second = allowed[0], allowed[-1]
    return (second, first) if turn % 2 else (first, second)


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


def _play(clip: Path, start: Callable[[], launcher.Child], processor: int = -1) -> _Run:
    """Let vision play a clip to its end, unheld; on one processor, if that is named."""
    child = start()
    pid, channel = child.process.pid, child.channel
    if processor >= 0:
        os.sched_setaffinity(pid, {processor})
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
