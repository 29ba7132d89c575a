"""When something happened, on the site's own clock."""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

OLDEST_S = 35 * 86_400
"""What is older than this when it arrives had a wrong clock."""
NEWEST_S = 3_600


def believed(claimed_utc_s: int, enqueued_utc_s: int) -> tuple[int, bool]:
    """The moment to count, and whether it is the claimed one.

    A claim that cannot be true is replaced by the time at which the hub took the record.
    """
    plausible = -NEWEST_S <= enqueued_utc_s - claimed_utc_s <= OLDEST_S
    return (claimed_utc_s if plausible else enqueued_utc_s), plausible


@lru_cache(maxsize=100_000)
def _local(zone: str, quarter_utc: int) -> tuple[date, int]:
    there = datetime.fromtimestamp(quarter_utc * 900, ZoneInfo(zone))
    return there.date(), there.hour


def local(zone: str, utc_s: int) -> tuple[date, int]:
    """Local day and hour. Every zone's offset is a whole number of quarter hours today."""
    return _local(zone, utc_s // 900)
