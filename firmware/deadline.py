"""How long a child may say nothing: the supervisor's patience, and the child's own alarm clock.

The supervisor ends a silent child that it started. One that the system started is another user's
and out of its reach: its own alarm ends it, which no handler of ours stands in the way of.
"""

from __future__ import annotations

import os
import signal

VISION_S, UPLINK_S = 60, 15
"""A child that says nothing for so long is ended and started again. Both speak every few seconds,
but vision first has to load its models."""

START_S = 600
"""Until the first word: a small or an emulated board takes a while to load what it needs, and
vision then tests itself (150 s altogether in QEMU on a busy machine)."""

_SYSTEM = 1


def extend(seconds: int) -> None:
    """Called whenever the child reports; it dies of SIGALRM when the next call does not come."""
    if os.getppid() == _SYSTEM:
        signal.alarm(seconds)
