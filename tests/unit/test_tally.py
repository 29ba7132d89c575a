"""What vision says about its own speed."""

from __future__ import annotations

from firmware.vision.tally import Tally


def test_time_that_others_took_is_told_apart() -> None:
    """Nineteen frames on an idle machine, then a load that lets each wait three times as long."""
    tally = Tally()
    for waited in [1] * 19 + [3] * 20:
        tally.turned(took_ns=waited * 25_000_000, cpu_ns=24_000_000)
    said = tally.report(visitors_now=0)
    assert (said.frames, said.frame_ms_p95_x10, said.frame_cpu_ms_p95_x10) == (39, 750, 240)
