"""Bad circumstances, with real processes: what is shown, what is refused, and what never leaks.

Where a test needs the kernel set up otherwise (swap on, a core pattern) and this machine does not
allow it, it says so in its name's parameter and shows the half that needs no such change.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware import launcher, messages
from firmware.errors import PrivacyError
from firmware.vision import models, native
from hil.scenes.render import Scene
from hil.scenes.source import write_video
from tests.integration.sight import SCRIPT, Vision

ROOT = Path(__file__).resolve().parents[2]
ORDINARY = (sys.executable, "-m", "tests.privacy.ordinary")
DOCTOR = "import sys; from firmware import cli; sys.exit(cli.main(['doctor']))"
STRICT = {"privacy": {"strict": True}}
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    native.build()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a sensor that sees one visitor."""
    clip = tmp_path_factory.mktemp("clip") / "visitor.mp4"
    write_video(Scene(SCRIPT), clip)
    folder = {"directory": str(models.directory())}
    return {"source": {"uri": str(clip), "realtime": False}, "models": folder}


@contextlib.contextmanager
def running(tree: dict[str, Any], *, before: str = "") -> Iterator[Vision]:
    vision = Vision(tree, before=before)
    try:
        yield vision
    finally:
        vision.close()


def doctor(*wrapped: str, limit: int | None = None, **variables: str) -> tuple[int, dict[str, str]]:
    """`flow-sensor doctor`: its exit status, and each broken guarantee with what it says to do."""

    def lower() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))

    done = subprocess.run(
        [*wrapped, sys.executable, "-c", DOCTOR],
        env={**os.environ, **variables},
        cwd=ROOT,
        preexec_fn=lower,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    broken: dict[str, str] = {}
    lines = done.stdout.splitlines()
    for line, following in itertools.pairwise(lines):
        if line.startswith("BROKEN"):
            broken[line.split()[1]] = following.strip()
    return done.returncode, broken


# ---- no compiler --------------------------------------------------------------------------------


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing was built, and nothing can be."""
    monkeypatch.setenv("FLOW_SENSOR_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_setup_goes_on_and_doctor_says_what_is_missing() -> None:
    program = [sys.executable, "-m", "firmware.vision.native"]
    built = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "no C compiler" in built.stderr and "apt install gcc" in built.stderr
    status, broken = doctor()
    assert status == PrivacyError.exit_code
    assert broken["zero_on_free"] == (
        "glibc's fill-on-free is in its place, which spares the last 8 bytes of a block: "
        "install a C compiler and run `make native`"
    )
    assert broken["stack_scrub"] == "install a C compiler and run `make native`"


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_strict_refuses_and_the_fallback_runs(tree: dict[str, Any]) -> None:
    with running(tree | STRICT) as vision:
        assert vision.ended() == PrivacyError.exit_code
        assert "zero_on_free, stack_scrub" in vision.failure.problem
        assert "make native" in vision.failure.remedy
        assert not vision.records
    with running(tree) as vision:
        assert vision.ended() == 0
        (ready,) = vision.said(messages.VisionReady)
        missing = {each.name for each in ready.guarantees if not each.holds}
        assert {"zero_on_free", "stack_scrub"} <= missing
        assert len(vision.records) == 1
        assert not vision.said(messages.SelfTested), "no search library, no figure"


# ---- a low limit on locked memory ---------------------------------------------------------------


def test_a_low_memlock_limit_is_broken_with_the_remedy() -> None:
    status, broken = doctor(*ORDINARY, limit=1 << 16)
    assert status == PrivacyError.exit_code
    assert broken["memory_locked"] == (
        "raise the limit on locked memory (LimitMEMLOCK=infinity in the unit, `memlock` in "
        "limits.conf, --ulimit memlock=-1 in a container)"
    )


# ---- swap ---------------------------------------------------------------------------------------

PAGED_OUT = """
import ctypes, mmap, re, sys
from pathlib import Path
from firmware import settings
from firmware.vision import models, sandbox
if sys.argv[1] == "locked":
    sandbox.enter(settings.Settings(), models.directory())
libc = ctypes.CDLL(None, use_errno=True)
pages = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
mark = bytes.fromhex(sys.argv[2])
for at in range(0, len(pages), 4096):
    pages[at : at + 16] = mark
address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
page_out = 21
refused = libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(len(pages)), page_out)
status = Path("/proc/self/status").read_text()
print(refused, int(re.search(r"VmSwap:\\s+(\\d+)", status)[1]), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def swap_on(folder: Path) -> Iterator[Path | None]:
    """A swap file of 64 MB, where the kernel lets us; else None."""
    file = folder / "swap"
    with file.open("wb") as content:
        content.write(bytes(64 << 20))
        os.fsync(content.fileno())
    file.chmod(0o600)
    made = subprocess.run(["/usr/sbin/mkswap", file], capture_output=True, check=False)
    if made.returncode or _libc.swapon(bytes(file), 0):
        yield None
        return
    try:
        yield file
    finally:
        _libc.swapoff(bytes(file))


@pytest.mark.parametrize(("how", "stays"), [("locked", True), ("unlocked", False)])
def test_with_swap_on_nothing_of_vision_gets_there(how: str, stays: bool, tmp_path: Path) -> None:
    """The kernel is asked to page vision's memory out. Unlocked memory is found in the swap file.

    Without the right to switch swap on: whether the kernel refuses the request, which it does for
    locked memory alone, with swap or without.
    """
    mark = secrets.token_bytes(16)
    with swap_on(tmp_path) as file:
        program = [sys.executable, "-c", PAGED_OUT, how, mark.hex()]
        with subprocess.Popen(
            program,
            env=launcher.environment("vision"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout
            refused, swapped_kb = map(int, child.stdout.readline().split())
            child.communicate()
        assert (refused == -1) is stays
        if file:
            assert (swapped_kb == 0) is stays
            with file.open("rb") as content:  # what was swapped went past the page cache
                os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                assert (mark not in content.read()) is stays


# ---- core dumps ---------------------------------------------------------------------------------

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
DIES = """
import os, resource, sys
from firmware.vision import sandbox
if sys.argv[1] == "as vision":
    sandbox.forbid_dumps()
else:  # what many take to be enough
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.kill(os.getpid(), 11)
"""


@contextlib.contextmanager
def cores_to_a_pipe(folder: Path) -> Iterator[Path | None]:
    """A core pattern that pipes every core to a program, which writes it down; None where this
    machine does not let us."""
    written, program = folder / "core", folder / "take"
    program.write_text(f"#!/bin/sh\nexec head -c 100000 > {written}\n")
    program.chmod(0o755)
    before = CORE_PATTERN.read_text()
    try:
        CORE_PATTERN.write_text(f"|{program}")
    except OSError:
        yield None
        return
    try:
        yield written
    finally:
        CORE_PATTERN.write_text(before)


@pytest.mark.parametrize(("how", "taken"), [("as vision", False), ("with the limit alone", True)])
def test_a_core_pattern_to_a_pipe_gets_no_core(how: str, taken: bool, tmp_path: Path) -> None:
    """A limit of zero does not stop a pipe; not being dumpable does.

    Where the pattern cannot be set, what the kernel asks first is looked at instead.
    """
    with cores_to_a_pipe(tmp_path) as written:
        died = subprocess.run([sys.executable, "-c", DIES, how], cwd=ROOT, check=False)
        assert died.returncode == -signal.SIGSEGV
        if written:
            until = time.monotonic() + (5 if taken else 1)
            while not written.exists() and time.monotonic() < until:
                time.sleep(0.02)
            assert written.exists() is taken
    get_dumpable = "import ctypes; sys.exit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    asked = DIES.replace("os.kill(os.getpid(), 11)", get_dumpable)
    dumpable = subprocess.run([sys.executable, "-c", asked, how], cwd=ROOT, check=False).returncode
    assert bool(dumpable) is taken


# ---- the same user reads along ------------------------------------------------------------------

SPY = """
import ctypes, json, os, subprocess, sys
from firmware import launcher
libc = ctypes.CDLL(None, use_errno=True)
code = sys.argv[1] + "; print(1, flush=True); sys.stdin.read()"
child = subprocess.Popen(
    [sys.executable, "-c", "import sys; from firmware.vision import sandbox; " + code],
    env=launcher.environment("vision"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
child.stdout.readline()
def can_open():
    try:
        os.close(os.open(f"/proc/{child.pid}/mem", os.O_RDONLY))
    except OSError:
        return False
    return True
seize = 0x4206
print(json.dumps([libc.ptrace(seize, child.pid, None, None) == 0, can_open()]))
child.kill()
"""


@pytest.mark.parametrize(
    ("confined", "reads"),
    [("sandbox.forbid_dumps()", [False, False]), ("pass", [True, True])],
)
def test_the_same_user_can_neither_trace_nor_read_vision(confined: str, reads: list[bool]) -> None:
    spied = subprocess.run(
        [*ORDINARY, sys.executable, "-c", SPY, confined],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    )
    assert json.loads(spied.stdout) == reads


def test_whoever_traces_vision_from_its_start_is_noticed(tree: dict[str, Any]) -> None:
    traced = "import ctypes; ctypes.CDLL(None).ptrace(0, 0, None, None)"
    with running(tree | STRICT, before=traced) as vision:
        assert vision.ended() == PrivacyError.exit_code
        assert "not_readable" in vision.failure.problem
        assert "end the debugger or tracer" in vision.failure.remedy


# ---- failures in mid-interaction ----------------------------------------------------------------

SECRET = "a brown coat at 612, 305"
OUT_OF_MEMORY = """
from firmware.vision import attributes
seen, look = [], attributes.Attributes.look
def starve(*given):
    seen.append(1)
    return bytearray(1 << 46) if len(seen) > 2 else look(*given)
attributes.Attributes.look = starve
"""
DECODER_THROWS = f"""
import cv2
from firmware.drivers import video_file
read = video_file.VideoFile.read
def throw(self, frame):
    if frame.index >= 40:
        raise cv2.error({SECRET!r})
    return read(self, frame)
video_file.VideoFile.read = throw
"""


@pytest.mark.parametrize(
    ("broken", "error"), [(OUT_OF_MEMORY, "MemoryError"), (DECODER_THROWS, "error")]
)
def test_what_breaks_in_mid_interaction_ends_in_order(
    broken: str, error: str, tree: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """What was seen so far is sealed, all is wiped, the process ends; the supervisor starts
    another one (tests/integration/test_supervisor.py). Only the error's kind is written."""
    wiped = "\nfrom firmware.vision import wiping\nwipe = wiping.everything\n"
    wiped += "wiping.everything = lambda *given: (wipe(*given), print('wiped', file=sys.stderr))\n"
    quiet = tree | {"privacy": {"selftest_every_s": 0}}
    with running(quiet, before=f"import sys{wiped}{broken}") as vision:
        assert vision.ended() == 1
        assert len(vision.records) == 1 and vision.records[0].dwell_ms >= 300
        assert not vision.said(messages.SourceEnded)
    *_, wipe, last = capfd.readouterr().err.splitlines()
    assert wipe == "wiped"
    event = json.loads(last)
    event.pop("at")
    assert event == {"event": "vision_broke", "error": error}
    assert SECRET not in last
