"""A PostgreSQL of its own for as long as a command runs.

    python -m tests.flow.postgres pytest …     # FLOW_DATABASE_URL is set for it

Needs Debian's package `postgresql`. The cluster lives in a temporary folder, listens on a loopback
address only, and is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "60",
    "checkpoint_timeout": "15min",
    "maintenance_work_mem": "256MB",
}
"""As on a small server. Durability stays on: fsync and synchronous_commit keep their defaults."""


class Cluster:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.programs = _programs()
        with socket.socket() as free:
            free.bind(("127.0.8.5", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"postgresql://flow@127.0.8.5:{self.port}/flow"

    def make(self) -> None:
        self._run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "flow",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-instructions",
            "--locale=C.UTF-8",
        )
        lines = {
            **SETTINGS,
            "listen_addresses": "127.0.8.5",
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        text = "".join(f"{name} = '{value}'\n" for name, value in lines.items())
        path = self.data / "postgresql.auto.conf"
        path.write_text(text)

    def start(self) -> None:
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.data), "-l", log, "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        """`immediate` is a crash: nothing is written out."""
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "60", "stop")

    def cpu_s(self) -> float:
        """CPU seconds of the server and of every connection that has ended."""
        pid = (self.data / "postmaster.pid").read_text().split()[0]
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), *words]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=120, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode()[-500:]}")


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        sys.exit("PostgreSQL is missing: apt-get install postgresql (see docs/flow/development.md)")
    return found[-1].parent


@contextlib.contextmanager
def running(database: str = "flow") -> Iterator[Cluster]:
    """A cluster with an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="flow-postgres-"))
    cluster = Cluster(folder)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        folder.chmod(0o755)
    try:
        cluster.make()
        cluster.start()
        cluster._run("createdb", "-h", "127.0.8.5", "-p", str(cluster.port), "-U", "flow", database)
        try:
            yield cluster
        finally:
            cluster.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with running() as server:
        environment = {**os.environ, "FLOW_DATABASE_URL": server.url, "FLOW_EMBEDDED": "1"}
        sys.exit(subprocess.run(sys.argv[1:], env=environment, check=False).returncode)
