"""The table of single interactions: 48 bytes of integers a row, in PostgreSQL one part a day.

Pages and reports read the roll-ups, never this table. It is what roll-ups can be made from again,
and by dropping parts of it old interactions go without a trace and without a slow DELETE.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.db import connection

NAME = "flow_interaction"

_COLUMNS = """
    sensor_id bigint NOT NULL,
    number bigint NOT NULL,
    site_id bigint NOT NULL,
    start_utc_s bigint NOT NULL,
    day date NOT NULL,
    dwell_ds integer NOT NULL,
    attention_ds integer NOT NULL,
    model_set bigint NOT NULL,
    hour smallint NOT NULL,
    cell smallint NOT NULL,
    confidence smallint NOT NULL,
    clock smallint NOT NULL,
    PRIMARY KEY (sensor_id, number, day)
"""


class Row(NamedTuple):
    """One interaction as stored; `day` and `hour` are the site's local ones."""

    sensor_id: int
    number: int
    site_id: int
    start_utc_s: int
    day: date
    dwell_ds: int
    attention_ds: int
    model_set: int
    hour: int
    cell: int
    confidence: int
    clock: int


_known: set[date] = set()


def create(execute: Any, vendor: str) -> None:
    """Make the table (from a migration)."""
    if vendor == "postgresql":
        execute(f"CREATE TABLE {NAME} ({_COLUMNS}) PARTITION BY RANGE (day)")
        execute(f"CREATE TABLE {NAME}_rest PARTITION OF {NAME} DEFAULT")
    else:
        execute(f"CREATE TABLE {NAME} ({_COLUMNS}) WITHOUT ROWID")


def prepare(days: Iterable[date]) -> None:
    """Make the parts for these days; outside the storing transaction, so that no lock lingers."""
    if connection.vendor != "postgresql":
        return
    for day in sorted(set(days) - _known):
        with connection.cursor() as cursor:
            # Two workers may want the same part: the second one waits here and finds it.
            cursor.execute("SELECT pg_advisory_lock(7)")
            try:
                cursor.execute(
                    f"CREATE TABLE IF NOT EXISTS {NAME}_{day:%Y%m%d} PARTITION OF {NAME} "
                    f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
                )
            finally:
                cursor.execute("SELECT pg_advisory_unlock(7)")
        _known.add(day)


def insert(rows: Sequence[Row]) -> None:
    """Add rows: COPY in PostgreSQL, one prepared statement in SQLite."""
    columns = ", ".join(Row._fields)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {NAME} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * len(Row._fields))
            cursor.executemany(
                f"INSERT INTO {NAME} ({columns}) VALUES ({marks})",  # noqa: S608
                rows,
            )


def drop_before(day: date) -> int:
    """Forget single interactions of earlier days; returns how many parts (or rows) went."""
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute(f"DELETE FROM {NAME} WHERE day < %s", [day])  # noqa: S608
            return int(cursor.rowcount)
        cursor.execute(
            "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid "
            "WHERE inhparent = %s::regclass AND relname ~ '_[0-9]{8}$' AND relname < %s",
            [NAME, f"{NAME}_{day:%Y%m%d}"],
        )
        parts = [row[0] for row in cursor.fetchall()]
        for part in parts:
            cursor.execute(f"DROP TABLE {part}")
    return len(parts)
