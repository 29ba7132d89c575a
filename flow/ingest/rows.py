"""Reading and writing many rows by composite keys, the same way in SQLite and PostgreSQL.

Names of tables and columns are written in this package; only values come from outside.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from django.db import connection


def select(
    name: str, keys: tuple[str, ...], columns: tuple[str, ...], wanted: list[tuple[Any, ...]]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Rows by their composite keys."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    one = f"({', '.join(['%s'] * len(keys))})"
    names = ", ".join(f'"{name}"' for name in (*keys, *columns))
    with connection.cursor() as cursor:
        for start in range(0, len(wanted), 200):
            part = wanted[start : start + 200]
            cursor.execute(
                f"SELECT {names} FROM {name} WHERE ({', '.join(keys)}) "  # noqa: S608
                f"IN (VALUES {', '.join([one] * len(part))})",
                [value for key in part for value in key],
            )
            for row in cursor.fetchall():
                key = tuple(
                    date.fromisoformat(value)
                    if column == "day" and isinstance(value, str)
                    else value
                    for column, value in zip(keys, row, strict=False)
                )
                found[key] = row[len(keys) :]
    return found


def upsert(
    name: str, keys: tuple[str, ...], columns: tuple[str, ...], rows: list[tuple[Any, ...]]
) -> None:
    """Insert rows, or replace those columns where the key exists."""
    names = ", ".join(f'"{column}"' for column in (*keys, *columns))
    sets = ", ".join(f'"{column}" = excluded."{column}"' for column in columns)
    one = f"({', '.join(['%s'] * (len(keys) + len(columns)))})"
    with connection.cursor() as cursor:
        for start in range(0, len(rows), 100):
            part = rows[start : start + 100]
            cursor.execute(
                f"INSERT INTO {name} ({names}) VALUES {', '.join([one] * len(part))} "  # noqa: S608
                f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}",
                [value for row in part for value in row],
            )
