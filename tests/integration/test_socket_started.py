"""Children that the system starts: the supervisor connects, what answers is in its own sandbox.

The system's part, a process for each connection with the connection as its standard input, is
played by a thread here.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import launcher, messages

ROOT = Path(__file__).parents[2]


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The socket `uplink` in `tmp_path`, and the processes that were started behind it."""
    started: list[subprocess.Popen[bytes]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "uplink"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                command = [sys.executable, "-m", "firmware.launcher", "uplink"]
                started.append(subprocess.Popen(command, stdin=connection.fileno(), cwd=ROOT))

        thread = threading.Thread(target=serve)
        thread.start()
        yield started
        thread.join()
    for process in started:
        process.kill()
        process.wait()


def test_child_behind_a_socket_speaks_and_its_process_is_known(
    tmp_path: Path, listening: list[subprocess.Popen[bytes]]
) -> None:
    child = launcher.connect("uplink", tmp_path)
    with child.channel:
        assert child.process.pid == 0
        missing = {"identity": {"directory": str(tmp_path)}}
        messages.send(child.channel, messages.StartUplink(missing, "flow-0001", b""))
        said = messages.receive(child.channel)
        assert isinstance(said, messages.Failed) and said.error == "SealError", said
        assert child.process.pid == listening[0].pid
        assert listening[0].wait(timeout=10) == 14
        assert child.process.wait(timeout=5) == launcher.UNKNOWN_STATUS


def test_killed_child_sees_its_channel_closed_and_ends(
    tmp_path: Path, listening: list[subprocess.Popen[bytes]]
) -> None:
    child = launcher.connect("uplink", tmp_path)
    with child.channel:
        child.process.kill()
        assert messages.receive(child.channel) is None
        while not listening:
            time.sleep(0.01)
        assert listening[0].wait(timeout=10) == 1


def test_nobody_listening_is_an_error_of_the_connection(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        launcher.connect("vision", tmp_path)


@pytest.mark.parametrize(
    ("parent", "status"), [(1, -signal.SIGALRM), (4711, 0)], ids=["system", "supervisor"]
)
def test_only_the_systems_child_dies_of_its_own_silence(parent: int, status: int) -> None:
    code = (
        f"import os, time\nfrom firmware import deadline\nos.getppid = lambda: {parent}\n"
        "deadline.extend(1)\ntime.sleep(2)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False)
    assert done.returncode == status
