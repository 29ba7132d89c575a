"""What an operator types: `python -m hil.local_hub`."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.envelope import pack
from firmware.record import Interaction
from firmware.sealing import seal, sign
from hil.local_hub import events, mqtt
from hil.local_hub.__main__ import main
from tests import keys
from tests.contract.hub_bench import Bench
from tests.unit.hub_identities import KEY

METHODS = "$iothub/methods/POST/#"


def told(capsys: pytest.CaptureFixture[str], cloud: Bench, *words: str) -> Any:
    """What a command printed, as JSON when it is."""
    assert main(["--state", str(cloud.hub.state), *words]) == 0
    printed = capsys.readouterr().out
    return json.loads(printed) if printed else None


@contextlib.contextmanager
def started(cloud: Bench, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, which ends with the block at the latest."""
    command = [sys.executable, "-m", "hil.local_hub", "--state", str(cloud.hub.state), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_twins_are_patched_and_shown(cloud: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    version = told(capsys, cloud, "patch", "dev1", '{"interval": 9}')
    shown = told(capsys, cloud, "twin", "dev1")
    assert shown["desired"] == {"interval": 9, "$version": version}


def test_devices_and_totals_are_shown(cloud: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    names = [one["device"] for one in told(capsys, cloud, "devices")]
    assert names == ["dev1", "key1"]
    assert told(capsys, cloud, "stats")["connected"] == 0


def test_a_method_is_called(cloud: Bench) -> None:
    with cloud.raw() as device:
        device.connect("dev1", cloud.host)
        device.subscribe(METHODS)
        with started(cloud, "call", "dev1", "ping", '{"a": 1}') as command:
            request = device.receive(mqtt.Publish)
            assert json.loads(request.payload) == {"a": 1}
            number = request.topic.partition("$rid=")[2]
            device.send(mqtt.Publish(f"$iothub/methods/res/200/?$rid={number}", b'{"ok":1}'))
            answer, _ = command.communicate(timeout=20)
    assert json.loads(answer) == {"status": 200, "payload": {"ok": 1}}


def test_a_request_that_fails_says_why(cloud: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--state", str(cloud.hub.state), "call", "dev1", "ping"]) == 15
    assert "'dev1' is not online" in capsys.readouterr().err
    assert main(["--state", str(cloud.folder), "stats"]) == 15
    assert "no hub answers" in capsys.readouterr().err


def test_faults_are_armed_and_cleared(cloud: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, cloud, "fault", "delay", "--count", "3", "--seconds", "2", "--device", "d*")
    told(capsys, cloud, "fault", "refuse", "connect", "--code", "5", "--probability", "0.5")
    delay, refuse = cloud.hub.faults()
    assert (delay["count"], delay["seconds"], delay["device"]) == (3, 2.0, "d*")
    assert (refuse["point"], refuse["code"], refuse["probability"]) == ("connect", 5, 0.5)
    told(capsys, cloud, "fault", "clear")
    assert cloud.hub.faults() == []


def test_enrolments_come_from_a_file(
    cloud: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "enrolments.json"
    path.write_text(json.dumps([{"name": f"file{n}", "keys": [KEY]} for n in range(3)]))
    assert main(["--state", str(cloud.hub.state), "enrol", str(path)]) == 0
    assert {"file0", "file1", "file2"} <= {one["name"] for one in cloud.hub.enrolments()}
    for wrong in ("{", "1", '[{"name": "a", "keys": ["short"]}]', '[{"nome": "a"}]'):
        path.write_text(wrong)
        assert main(["--state", str(cloud.hub.state), "enrol", str(path)]) == 15


def test_messages_are_watched(cloud: Bench) -> None:
    with cloud.raw() as device:
        device.connect("dev1", cloud.host)
        device.publish("dev1", b"before", 6)
        device.receive(mqtt.Puback)
        before = sum(1 for _ in events(cloud.hub.capture))
        device.publish("dev1", b"seen", 7)
        device.receive(mqtt.Puback)
    with started(cloud, "watch", "--after", str(before)) as command:
        assert command.stdout
        assert command.stdout.readline().split()[1:] == ["dev1", "m7", "4", "octets", "{}"]


def test_records_are_opened(cloud: Bench, tmp_path: Path) -> None:
    signer = keys.Signing("dev1")
    now = datetime.datetime.now(datetime.timezone.utc)
    (tmp_path / "dev1.pem").write_bytes(signer.certificate("dev1", now))
    private = tmp_path / "recipient.key"
    private.touch(0o600)
    private.write_bytes(keys.private_key().to_bytes())
    visit = Interaction(start_utc_s=0, dwell_ms=1200)
    sealed = seal(visit, number=5, device="dev1", recipient=keys.recipient())
    body, _ = pack([sign(sealed, signer)])
    before = sum(1 for _ in events(cloud.hub.capture))
    words = ["--after", str(before), "--key", str(private)]
    with (
        cloud.raw() as device,
        started(cloud, "open", *words, "--devices", str(tmp_path)) as command,
    ):
        assert command.stdout
        device.connect("dev1", cloud.host)
        device.publish("dev1", b"no envelope", 1)
        device.publish("dev1", body, 2)
        opened = json.loads(command.stdout.readline())
    assert (opened["device"], opened["number"], opened["record"]["dwell_ms"]) == ("dev1", 5, 1200)
