"""The only way for the firmware to write a log line.

An event has a fixed name and fields from a list; a value is a scalar. There is no place for a
box, an attribute, a track number, a key or a vendor's exception text, so none can slip in.
Lines are JSON on standard error, which the journal (held in RAM on a device) collects.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TextIO

EVENTS: dict[str, frozenset[str]] = {
    # supervisor
    "sensor_started": frozenset({"version", "device", "mode"}),
    "sensor_stopped": frozenset({"reason", "waiting", "sealed"}),
    "process_started": frozenset({"process", "pid", "attempt"}),
    "process_ended": frozenset({"process", "exit_code", "restart_in_ms"}),
    "process_failed": frozenset({"process", "error"}),
    "outbox_dropped": frozenset({"dropped_total", "waiting"}),
    "numbers_reserved": frozenset({"first", "count"}),
    "clock_jumped": frozenset({"by_s"}),
    "clock_synchronised": frozenset({"synchronised"}),
    "update": frozenset({"state", "version"}),
    "settings_applied": frozenset({"version", "changed"}),
    "settings_rejected": frozenset({"version"}),
    "status": frozenset(
        {
            "frames",
            "frames_per_s_x10",
            "visitors_now",
            "waiting",
            "delivered",
            "dropped",
            "connected",
        }
    ),
    "guarantee": frozenset({"name", "holds"}),
    # vision
    "camera_opened": frozenset({"width", "height", "frames_per_s"}),
    "camera_lost": frozenset({"attempt", "retry_in_ms"}),
    "camera_ended": frozenset({"frames"}),
    "vision_ready": frozenset({"model_set", "start_ms"}),
    "vision_broke": frozenset({"error"}),
    "models_refused": frozenset(),
    "recipient_refused": frozenset(),
    "selftest": frozenset({"passed", "hits", "controls", "took_ms"}),
    "selftest_impossible": frozenset(),
    # uplink
    "hub_connected": frozenset({"attempt"}),
    "hub_lost": frozenset({"error", "retry_in_ms"}),
    "hub_refused": frozenset({"error", "retry_in_ms"}),
    "hub_stalled": frozenset({"silent_s"}),
    "thread_died": frozenset({"error"}),
    "registered": frozenset({"attempt"}),
    "registration_failed": frozenset({"error", "status", "retry_in_ms"}),
    "registration_not_kept": frozenset(),
    "report_refused": frozenset(),
    "certificate_rejected": frozenset(),
    "recipient_changed": frozenset(),
    "certificate_expires": frozenset({"days"}),
    "certificate_rotated": frozenset(),
    "method_called": frozenset({"method", "status"}),
    "identify": frozenset({"seconds"}),
}
"""Event name → the fields that it may carry."""

_MAX_TEXT = 80


def log(event: str, *, stream: TextIO | None = None, **fields: int | str | bool) -> None:
    """Write one event.

    Raises:
        ValueError: the event or a field is not on the list, or a value is no scalar. This is a
            programming error; it is raised before anything is written.
    """
    allowed = EVENTS.get(event)
    if allowed is None:
        raise ValueError(f"unknown event {event!r}")
    for name, value in fields.items():
        if name not in allowed:
            raise ValueError(f"event {event!r} has no field {name!r}")
        if type(value) not in (int, bool, str) or len(str(value)) > _MAX_TEXT:
            raise ValueError(f"field {name!r} of {event!r} must be a short scalar")
    line = json.dumps({"at": round(time.time()), "event": event, **fields})
    # One write for the whole line: several threads may log at the same moment.
    print(line + "\n", end="", file=stream or sys.stderr, flush=True)
