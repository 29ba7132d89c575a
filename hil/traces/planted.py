"""Traces left on purpose, for those ingredients of a wipe that a visitor gives hardly any work.

A visitor's numbers come to lie in dead floats, dead cycles or a register only now and then, and
other ingredients may overwrite them first. So each kind of trace is planted in a process of its
own, with vision's environment, and looked for in its memory after `wiping.residue`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from firmware import launcher
from firmware.vision import native
from hil.traces import needles

SOURCE = Path(__file__).with_suffix(".c")
_SEED = 0x2545F4914F6CDD1D

_CHILD = """
import ctypes, gc, struct, sys
{code}
from firmware.vision import wiping
library = ctypes.PyDLL({library!r})
seed = int(sys.argv[1])
def pattern():
    return struct.pack("<QQ", *(seed * each % (1 << 64) for each in (3, 5)))
def plant():
    {plant}
plant()
wiping.residue()
print({count}, flush=True)
sys.stdin.read()
"""
PLANTS: Mapping[str, str] = {
    "floats": "kept = [struct.unpack('<d', pattern()[:8])[0] for _ in range(90)]",
    "cycles": "gc.disable(); ring = [pattern() * 8]; ring.append(ring)",
    "stack": "library.leave_on_stack(pattern())",
    "registers": "library.leave_in_registers(pattern())",
}


def found(kind: str, code: str = "") -> int:
    """How many copies of a planted trace are there after a wipe.

    Args:
        kind: one of `PLANTS`.
        code: what takes an ingredient away: see `hil.traces.altered.start`.

    Raises:
        PrivacyError: there is no C compiler.
    """
    library = str(native.compiled(SOURCE))
    count = "library.in_registers(pattern())" if kind == "registers" else "0"
    program = _CHILD.format(code=code, library=library, plant=PLANTS[kind], count=count)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(_SEED)],
        env=launcher.environment("vision"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        in_registers = int(child.stdout.readline())
        sought = b"".join((_SEED * each % (1 << 64)).to_bytes(8, "little") for each in (3, 5))
        return in_registers + _copies(child.pid, sought[:8] if kind == "floats" else sought)


def _copies(pid: int, sought: bytes) -> int:
    total = 0
    for mapping in needles.mappings(pid):
        stretches = needles.contents(pid, mapping)
        total += sum(stretch.tobytes().count(sought) for _, stretch in stretches)
    return total
