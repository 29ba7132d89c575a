"""The image holds what the application needs of the sensor's code, and no more."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from firmware.errors import SealError

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = ROOT / "flow" / "deploy" / "Dockerfile"


def copied() -> list[tuple[list[str], str]]:
    """Sources and target of each COPY."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    words = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("COPY ")]
    return [(line[:-1], line[-1]) for line in words]


def test_the_application_runs_from_the_images_files_alone(tmp_path: Path) -> None:
    for sources, target in copied():
        for source in sources:
            here = ROOT / source
            if here.is_dir():
                shutil.copytree(here, tmp_path / target, ignore=shutil.ignore_patterns("*.pyc"))
            else:
                (tmp_path / target).mkdir(exist_ok=True) if target.endswith("/") else None
                place = tmp_path / target
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(here, place)
    assert not list(tmp_path.rglob("vision*")) and not list(tmp_path.rglob("uplink*"))
    environment = {
        "PATH": os.environ["PATH"],
        "FLOW_HOME": str(tmp_path / "home"),
        "FLOW_RECIPIENT_KEYS": str(tmp_path / "none.key"),
    }
    for words, status in (
        (["setup", "--customer", "x"], 0),
        (["collectstatic", "--noinput"], 0),
        (["ingest", "--capture", "nothing.jsonl"], SealError.exit_code),  # no key there
    ):
        done = subprocess.run(
            [sys.executable, "-m", "flow", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
