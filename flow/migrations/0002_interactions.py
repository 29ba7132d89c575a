"""The partitioned table of single interactions, and bytes that are not worth compressing."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.db import migrations

from flow.ingest import table


def forwards(apps: Any, editor: Any) -> None:
    table.create(editor.execute, editor.connection.vendor)
    if editor.connection.vendor == "postgresql":
        # Cells are dense and read by the thousand: reading them must not cost decompression.
        editor.execute("ALTER TABLE flow_cube ALTER COLUMN cells SET STORAGE EXTERNAL")
        editor.execute("ALTER TABLE flow_cube SET (fillfactor = 80)")
        editor.execute("ALTER TABLE flow_numberblock SET (fillfactor = 50)")
    call_command("createcachetable", database=editor.connection.alias, verbosity=0)


def backwards(apps: Any, editor: Any) -> None:
    editor.execute(f"DROP TABLE {table.NAME}")
    editor.execute("DROP TABLE flow_cache")


class Migration(migrations.Migration):
    dependencies = [("flow", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards)]
