"""How fast records are opened, checked and stored; what a replay and a crash change (nothing)."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connection

from firmware.recipient import PrivateKey
from flow.models import Checkpoint, Customer, Sensor, Site
from tests.flow.bench.sealing import seal_all
from tests.flow.postgres import Cluster

WORKERS = 4


def measure(
    cluster: Cluster, records: int, sealed: Path | None, *, rate_only: bool
) -> dict[str, Any]:
    """Seal, ingest and replay.

    Args:
        sealed: folder whose sealed records are used, or made when it is not there; None: made
            and thrown away.
    """
    with tempfile.TemporaryDirectory(prefix="flow-bench-") as name:
        folder = sealed or Path(name)
        if not (folder / "recipient.key").exists():
            _seal(folder, records)
        _register(json.loads((folder / "certificates.json").read_text()))
        path = folder / "recipient.key"
        database = cluster.cpu_s()
        seconds, cpu = _ingest(folder, path)
        database = cluster.cpu_s() - database
        stored, totals = _state()
        found = {
            "records": records,
            "stored": stored,
            "ingest_per_s": round(records / seconds),
            "worker_cpu_us_per_record": round(1e6 * cpu / records),
            "database_cpu_us_per_record": round(1e6 * database / records),
            "load_average": round(os.getloadavg()[0], 1),
        }
        if rate_only:
            return found
        print(json.dumps(found), flush=True)
        again, _ = _ingest(folder, path, "--again")
        return {
            **found,
            "replay_per_s": round(records / again),
            "replay_equal": (stored, totals) == _state() and stored == records,
        }


def crash(cluster: Cluster, records: int) -> dict[str, Any]:
    """The same records twice into an empty database: in peace, and with crashes."""
    _empty()
    with tempfile.TemporaryDirectory(prefix="flow-bench-") as name:
        folder = Path(name)
        _seal(folder, records)
        Sensor.objects.all().delete()
        _register(json.loads((folder / "certificates.json").read_text()))
        path = folder / "recipient.key"
        _ingest(folder, path)
        expected = _state()
        _empty()
        crashes = _ingest_with_crashes(cluster, folder, path)
        stored, totals = _state()
    return {
        "crash_records": stored,
        "crashes": crashes,
        "crash_equal": (stored, totals) == expected and stored == records,
    }


def _seal(folder: Path, records: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    key = PrivateKey.generate()
    began = time.monotonic()
    certificates = seal_all(folder, WORKERS, records, key)
    print(f"sealed {records:,} records in {time.monotonic() - began:.0f} s", flush=True)
    (folder / "certificates.json").write_text(json.dumps(certificates))
    path = folder / "recipient.key"  # the last of the files: it says that all are there
    path.touch(mode=0o600)
    path.write_bytes(key.to_bytes())


def _register(certificates: dict[str, str]) -> None:
    customer, _ = Customer.objects.get_or_create(name="Bench")
    sites = [
        Site.objects.get_or_create(customer=customer, name=f"Site {at}", slug=f"site-{at}")[0]
        for at in range(10)
    ]
    Sensor.objects.bulk_create(
        Sensor(device=device, name=device, site=sites[at % len(sites)], certificates=pem)
        for at, (device, pem) in enumerate(sorted(certificates.items()))
    )


def _worker(folder: Path, key: Path, share: int, *more: str) -> subprocess.Popen[bytes]:
    words = [
        sys.executable,
        "-m",
        "flow",
        "ingest",
        "--capture",
        str(folder / f"share-{share}.jsonl"),
    ]
    environment = {**os.environ, "FLOW_RECIPIENT_KEYS": str(key)}
    return subprocess.Popen([*words, *more], env=environment, stdout=subprocess.DEVNULL)


def _ingest(folder: Path, key: Path, *more: str) -> tuple[float, float]:
    """Seconds that all workers took, and CPU seconds of them; their start is part of neither.

    Another machine's load lengthens the first and not the second.
    """
    idle = _cpu(lambda: _finish([_worker(folder, key, 0, "--parts", "1000", "--part", "999")]))
    began = time.monotonic()
    busy = _cpu(lambda: _finish([_worker(folder, key, share, *more) for share in range(WORKERS)]))
    return time.monotonic() - began - idle[0], busy[1] - WORKERS * idle[1]


def _finish(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        if worker.wait(3600):
            raise RuntimeError("a worker failed")


def _cpu(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and children's CPU seconds of some work."""
    wall, before = time.monotonic(), os.times()
    work()
    after = os.times()
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return time.monotonic() - wall, cpu


def _ingest_with_crashes(cluster: Cluster, folder: Path, key: Path) -> int:
    """Kill workers with SIGKILL and the database without a goodbye, until all is read."""
    chance = random.Random(5)
    workers = {share: _worker(folder, key, share) for share in range(WORKERS)}
    crashes = 0
    deadline = time.monotonic() + 3600
    while workers and time.monotonic() < deadline:
        time.sleep(chance.uniform(1.5, 4.0))
        for share, worker in list(workers.items()):
            if worker.poll() == 0:
                del workers[share]
            elif worker.poll() is not None:
                workers[share] = _worker(folder, key, share)
        if not workers or crashes >= 12:
            continue
        crashes += 1
        if crashes % 3 == 0:
            connection.close()
            cluster.stop("immediate")
            time.sleep(1)
            cluster.start()
        else:
            share = chance.choice(sorted(workers))
            workers[share].send_signal(signal.SIGKILL)
            workers[share].wait()
    return crashes


def _state() -> tuple[int, str]:
    """Stored interactions, and a digest of every roll-up."""
    digest = hashlib.sha256()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM flow_interaction")
        stored = cursor.fetchone()[0]
        for sql in (
            "SELECT site_id, grain, day, cells FROM flow_cube ORDER BY 1, 2, 3",
            "SELECT sensor_id, day, records, first, last, unsynchronised, alive "
            "FROM flow_sensorday ORDER BY 1, 2",
        ):
            cursor.execute(sql)
            for row in cursor.fetchall():
                digest.update(
                    repr([bytes(v) if isinstance(v, memoryview) else v for v in row]).encode()
                )
    return stored, digest.hexdigest()


def _empty() -> None:
    Checkpoint.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE flow_interaction, flow_cube, flow_sensorday, flow_numberblock")
