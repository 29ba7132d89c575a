"""`python -m tests.flow.bench`: figures of ingest and pages → build/reports/flow.json."""

from __future__ import annotations

import argparse
import json
import os
import sys


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.flow.bench", description=__doc__)
    parser.add_argument(
        "--records", type=int, default=1_000_000, help="sealed and ingested; 0: only the pages"
    )
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

        from hil import report
        from tests.flow.bench import ingest, pages

        ingested = ingest.measure(cluster, chosen.records) if chosen.records else {}
        print(json.dumps(ingested), flush=True)
        shown = pages.measure(chosen.rows)
        last = shown["steps"][-1]
        path = report.write(
            "flow",
            {
                "ingest_per_s": ingested.get("ingest_per_s"),
                "replay_equal": ingested.get("replay_equal"),
                "overview_p95_ms": last["overview_p95_ms"],
                "report_p95_ms": last["report_p95_ms"],
                "rows": last["rows"],
                "ingest": ingested,
                "pages": shown,
            },
        )
    print(f"flow: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
