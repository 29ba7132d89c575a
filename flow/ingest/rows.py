"""Reading and writing many rows by composite keys, the same way in SQLite and PostgreSQL.

Names of tables and columns are written in this package; only values come from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from django.db import connection


def fetch(sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """All rows of a query. PostgreSQL sends them in its binary form: bytes as they are, not as
    hexadecimal digits, which halves what a page with many roll-ups costs."""
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        from psycopg import Connection, Cursor  # noqa: PLC0415 (SQLite needs no such client)

        held: Any = connection.connection
        assert isinstance(held, Connection)
        with connection.wrap_database_errors, Cursor(held) as server:
            rows: list[tuple[Any, ...]] = server.execute(
                sql.encode(), values, binary=True
            ).fetchall()
            return rows
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def days_since(column: str) -> str:
    """SQL for the whole days between a parameter, which is a day, and a column of days."""
    if connection.vendor == "postgresql":
        return f"{column} - %s::date"
    return f"CAST(julianday({column}) - julianday(%s) AS INTEGER)"


def day(value: date | str) -> date:
    """SQLite hands out dates of plain cursors as text."""
    return date.fromisoformat(value) if isinstance(value, str) else value


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
                    day(value) if column == "day" else value
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
