"""What keeps the promise, piece by piece, each with what takes it away from vision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_WIPING = "from firmware.vision import wiping\n"
_SANDBOX = "from firmware.vision import sandbox\n"
_SPARED = """
class Spared:
    def __getattr__(self, name): return getattr(kept, name)
    def {}(self): return 1
kept, wiping._native = wiping._native, Spared()
"""
_FORGET = "{0}.forget = lambda *_: None\n"
NO_FILLS = """
from firmware.drivers import onnx_engine
from firmware.vision import memory
from firmware.vision.attributes import Attributes
from firmware.vision.interactions import Interactions
from firmware.vision.tracking import Tracker
memory.wipe = lambda owner="": None
memory.wipe_passing = lambda: None
onnx_engine.OnnxEngine.scrub = lambda self: None
Attributes.forget = Interactions.forget = Tracker.forget = lambda *_: None
"""


class Ingredient(NamedTuple):
    """One thing, and what takes it away: see `hil.traces.altered.start`.

    Attributes:
        limits: it keeps others out, and changes nothing of what memory holds.
        clears: kinds of `hil.traces.planted` that it clears; a visitor rarely leaves such a trace,
            or another ingredient overwrites it as well.
    """

    name: str
    code: str = ""
    variables: Mapping[str, str | None] = {}
    limits: bool = False
    clears: tuple[str, ...] = ()


INGREDIENTS = (
    Ingredient("zero-on-free library", variables={"LD_PRELOAD": None}),
    Ingredient("PYTHONMALLOC", variables={"PYTHONMALLOC": None}),
    Ingredient("no caches of blocks", variables={"GLIBC_TUNABLES": None}),
    Ingredient(
        "telemetry off",
        """
import os
put = type(os.environ).__setitem__  # the driver sets it again
def spare(self, name, value): name == "ORT_DISABLE_TELEMETRY" or put(self, name, value)
type(os.environ).__setitem__ = spare
""",
        {"ORT_DISABLE_TELEMETRY": None},
        limits=True,
    ),
    Ingredient(
        "one thread for OpenBLAS",
        variables={"OPENBLAS_NUM_THREADS": None, "OMP_NUM_THREADS": None},
    ),
    Ingredient("one thread for OpenCV", "import cv2\ncv2.setNumThreads = lambda count: None\n"),
    Ingredient(
        "one thread for inference",
        """
from firmware.drivers import onnx_engine
class Options(onnx_engine.onnxruntime.SessionOptions):
    intra_op_num_threads = property(lambda self: 4, lambda self, count: None)
onnx_engine.onnxruntime.SessionOptions = Options
""",
    ),
    Ingredient(
        "one thread for the decoder",
        """
import cv2
real = cv2.VideoCapture
cv2.VideoCapture = lambda path, api, options: real(path, api)
""",
        {"OPENCV_FFMPEG_CAPTURE_OPTIONS": None},
    ),
    Ingredient("lock of memory", _SANDBOX + "sandbox.lock_memory = lambda: None\n", limits=True),
    Ingredient(
        "neither core nor reader", _SANDBOX + "sandbox.forbid_dumps = lambda: None\n", limits=True
    ),
    Ingredient(
        "Landlock", _SANDBOX + "sandbox.restrict_files = lambda *_, **__: None\n", limits=True
    ),
    Ingredient(
        "filter of calls", _SANDBOX + "sandbox.filter_calls = lambda **_: None\n", limits=True
    ),
    Ingredient(
        "wipe of those who leave others",
        _WIPING + "wiping.of_leavers = lambda *_: None\n",
    ),
    Ingredient(
        "release of the decoder",
        """
from firmware.drivers.video_file import VideoFile
calls, real = [], VideoFile.release
def release(self):
    calls.append(self)
    if len(calls) == 1: real(self)  # by this one the proof sees that vision rests
VideoFile.release = release
""",
    ),
    Ingredient(
        "run on zeros",
        """
from firmware.drivers import onnx_engine
from firmware.vision import memory
def scrub(self):
    self.input.fill(0)
    memory.wipe(self._owner)
onnx_engine.OnnxEngine.scrub = scrub
""",
    ),
    Ingredient(
        "rows of the tracker",
        "from firmware.vision.tracking import Tracker\n" + _FORGET.format("Tracker"),
    ),
    Ingredient(
        "rows of the votes",
        "from firmware.vision.attributes import Attributes\n" + _FORGET.format("Attributes"),
    ),
    # The rows of the interactions hold times alone, the same for whoever stays as long: no needle
    # and no difference of pixels can show them. tests/unit/test_interactions.py sees them zeroed.
    Ingredient("small blocks of numpy", _WIPING + "wiping._SMALL_BYTES = 2\n"),
    Ingredient(
        "collection of cycles",
        _WIPING + "wiping.gc = type('', (), {'collect': staticmethod(lambda: 0)})\n",
        clears=("cycles", "floats"),
    ),
    Ingredient("scrub of the stack", _WIPING + _SPARED.format("scrub_stack"), clears=("stack",)),
    Ingredient(
        "scrub of the registers",
        _WIPING + _SPARED.format("scrub_registers"),
        clears=("registers",),
    ),
)


class Row(NamedTuple):
    """What noticed that an ingredient was missing.

    Attributes:
        guarantees: those that no longer held.
        hits: after a wipe, by kind of needle.
        difference: bytes that follow the pixels; not asked when something else noticed.
        planted: copies of traces that were left on purpose; not asked when something else noticed.
        failure: what vision ended with, if it could not do without.
    """

    name: str
    guarantees: tuple[str, ...] = ()
    hits: Mapping[str, int] = {}
    difference: int | None = None
    planted: Mapping[str, int] = {}
    failure: str = ""

    @property
    def noticed(self) -> bool:
        found = self.guarantees or self.hits or self.failure or any(self.planted.values())
        return bool(found) or (self.difference or 0) > 16

    @property
    def says(self) -> str:
        """In words."""
        parts = []
        if self.guarantees:
            parts.append(f"guarantees: {', '.join(self.guarantees)}")
        if self.hits:
            most = sorted(self.hits, key=lambda kind: -self.hits[kind])[:3]
            parts.append(f"needles: {sum(self.hits.values()):,} ({', '.join(most)} …)")
        if self.difference is not None:
            parts.append(f"byte difference: {self.difference:,}")
        parts += [f"planted on purpose, {kind}: {count:,}" for kind, count in self.planted.items()]
        return "; ".join([*parts, self.failure] if self.failure else parts)
