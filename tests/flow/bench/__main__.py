"""`python -m tests.flow.bench`: figures of ingest and pages → build/reports/flow.json.

Without a part it runs everything. A part alone (`ingest`, `crash`, `pages`) leaves
the others' figures in the report as they are, for each needs a quiet machine for minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.flow.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="?", choices=["ingest", "crash", "pages"])
    parser.add_argument("--records", type=int, default=1_000_000, help="sealed and ingested")
    parser.add_argument(
        "--sealed", type=Path, help="folder for sealed records, kept and used again"
    )
    parser.add_argument("--rate", action="store_true", help="ingest once and no more")
    parser.add_argument("--rows", type=int, default=20_000_000, help="behind the pages")
    chosen = parser.parse_args()

    from tests.flow.postgres import running

    with running() as cluster:
        os.environ["FLOW_DATABASE_URL"] = cluster.url
        os.environ["FLOW_EMBEDDED"] = "1"
        os.environ["DJANGO_SETTINGS_MODULE"] = "flow.settings"

        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)

        from tests.flow.bench import ingest, pages

        figures: dict[str, Any] = {}
        if chosen.part in (None, "ingest"):
            found = ingest.measure(cluster, chosen.records, chosen.sealed, rate_only=chosen.rate)
            print(json.dumps(found), flush=True)
            if "ingest_per_s" in found:
                figures["ingest_per_s"] = found["ingest_per_s"]
            if "replay_equal" in found:
                figures["replay_equal"] = found["replay_equal"]
            figures["ingest_rate" if chosen.rate else "ingest"] = found
        if chosen.part in (None, "crash"):
            figures["crash"] = ingest.crash(cluster, chosen.records // 10)
            print(json.dumps(figures["crash"]), flush=True)
        if chosen.part in (None, "pages"):
            shown = pages.measure(chosen.rows)
            last = shown["steps"][-1]
            keys = ("overview_p95_ms", "report_p95_ms", "rows")
            figures |= {**{key: last[key] for key in keys}, "pages": shown}
    print(f"flow: {_merged(figures)}")
    return 0


def _merged(figures: dict[str, Any]) -> Path:
    """Write the report; figures of a part that was not run stay."""
    from hil import report

    path = report.REPORTS / "flow.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    keys = ("ingest_per_s", "replay_equal", "overview_p95_ms", "report_p95_ms", "rows")
    known = (*keys, "ingest_rate", "ingest", "crash", "pages")
    kept = {key: before[key] for key in known if key in before}
    return report.write("flow", dict.fromkeys(keys) | kept | figures)


if __name__ == "__main__":
    sys.exit(main())
