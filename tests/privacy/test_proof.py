"""The proof itself, on a small scale: nothing is found as shipped, and what is taken away is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_written_anywhere_is_seen_and_does_not_last(tmp_path: Path) -> None:
    lasting, passing = tmp_path / "before", tmp_path / "trace"
    lasting.write_text("before")
    code = f"""if True:
        import json
        from pathlib import Path
        from hil.traces import rights
        uncovered = rights.enter_own_namespaces()
        Path({str(passing)!r}).parent.mkdir(parents=True, exist_ok=True)
        Path({str(passing)!r}).write_text("trace")
        Path("/var/tmp/trace").write_text("trace")
        (rights.HOME / "trace").write_text("trace")
        Path("trace").write_text("trace")
        print(json.dumps([list(map(str, uncovered)), len(rights.written())]))
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == [[], 4]
    assert not passing.exists()
    assert not (ROOT / "trace").exists()


def test_a_program_that_the_proof_would_hide_is_named() -> None:
    code = "from hil.traces import rights; rights.enter_own_namespaces()"
    hidden = Path("/var/tmp/home")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HOME": str(hidden)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert f"PrivacyError: {hidden} would be hidden" in done.stderr


@pytest.mark.timeout(600)  # twenty seconds on a machine of its own
def test_nothing_is_left_as_shipped_and_what_is_taken_away_is_noticed(
    tmp_path: Path,
) -> None:
    code = f"""if True:
        import sys
        from pathlib import Path
        from hil import report
        from hil.traces import mutations
        report.REPORTS = Path({str(tmp_path)!r})
        sys.exit(mutations.main(["run on zeros"]))
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=590)
    figures = json.loads((tmp_path / "mutations.json").read_text())
    assert figures["clean_as_shipped"]
    assert [row["name"] for row in figures["rows"] if row["hits"]] == ["run on zeros"]
