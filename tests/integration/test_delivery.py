"""A whole sensor but for the camera, and a hub: methods, twin, health and keys from end to end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware import __version__, messages
from firmware.device_trust import DeviceTrust
from firmware.reader import Opened, Reader
from firmware.recipient import PrivateKey
from firmware.record import HealthBody
from firmware.supervisor import REBOOT_STATUS
from firmware.uplink import identity
from hil.demo.pilot import loopback
from hil.faults.rig import DEVICE, HUB, ID_SCOPE, Rig
from hil.faults.secrets import MARKS, leaks, secrets
from hil.local_hub import ServiceError, events, running
from tests.integration.bench import Bench, bench, eventually, uplink


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A sensor that has registered, connected and delivered a few records."""
    folder, address = tmp_path_factory.mktemp("rig"), loopback()
    with running(folder / "hub", address, "--hub", HUB, "--id-scope", ID_SCOPE) as hub:
        made = Rig(folder, hub, address, python=sys.executable, rate=100)
        try:
            more(made, 5)
            yield made
        finally:
            if made.process.poll() is None:
                made.kill()


def more(rig: Rig, count: int) -> None:
    """Let so many more records be sealed, and see them stored."""
    wanted = len(rig.tally.sealed()) + count
    rig.allow(wanted)
    eventually(lambda: rig.tally.look() >= wanted)


def opened(rig: Rig, kind: str, keys: list[Path] | None = None) -> list[Opened]:
    trust = DeviceTrust.from_folder(rig.folder / "ca" / "issued")
    reader = Reader([PrivateKey.load(path) for path in keys or rig.tally.secrets], trust)
    found: list[Opened] = []
    for event in events(rig.hub.capture):
        found += reader.read(event.body, event.device).records
    return [one for one in found if one.kind == kind]


def answers(rig: Rig) -> bool:
    """Whether vision and uplink are there and the hub reaches the device."""
    try:
        there = rig.hub.call(DEVICE, "ping")[0] == 200
    except ServiceError:
        return False
    return there and len(rig.supervisor().children()) == 2


def restart(rig: Rig) -> None:
    """Have both children replaced; the old ones still answer for a moment."""
    before = {one.pid for one in rig.supervisor().children()}
    assert rig.hub.call(DEVICE, "restart")[0] == 200
    eventually(lambda: not before & {one.pid for one in rig.supervisor().children()})
    eventually(lambda: answers(rig))


def reported(rig: Rig) -> dict[str, Any]:
    twin: dict[str, Any] = rig.hub.twin(DEVICE)["reported"]
    return twin


# ---- methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status"),
    [("ping", 200), ("identify", 200), ("selftest", 202), ("rotate", 202), ("dance", 404)],
)
def test_a_method_is_answered(rig: Rig, method: str, status: int) -> None:
    answered, payload = rig.hub.call(DEVICE, method)
    assert answered == status
    if method == "ping":
        assert payload["uptime_s"] >= 0
    if method == "identify":
        assert '"event": "identify"' in rig.log.read_text()
    if method == "rotate":
        eventually(lambda: bool(reported(rig)["identity"].get("request")))


def test_reprovision_registers_again_and_goes_on(rig: Rig) -> None:
    def times() -> int:
        return int(rig.hub.registrations()[0]["times"])

    before = times()
    assert rig.hub.call(DEVICE, "reprovision")[0] == 202
    eventually(lambda: times() == before + 1)
    more(rig, 3)


def test_pause_stops_the_records_and_shows_until_resume(rig: Rig) -> None:
    assert rig.hub.call(DEVICE, "pause")[0] == 200
    eventually(lambda: reported(rig)["paused"] is True)
    sealed = len(rig.tally.sealed())
    rig.allow(sealed + 5)
    restart(rig)  # which ends no pause
    assert len(rig.tally.sealed()) == sealed
    assert rig.hub.call(DEVICE, "resume")[0] == 200
    eventually(lambda: rig.tally.look() == sealed + 5)
    assert reported(rig)["paused"] is False


def test_restart_replaces_both_children_and_leaves_no_gap(rig: Rig) -> None:
    eventually(lambda: answers(rig))
    restart(rig)
    more(rig, 5)
    sealed = rig.tally.sealed()
    assert sealed == list(range(sealed[0], sealed[0] + len(sealed)))


# ---- twin and health ---------------------------------------------------------------------------


def test_the_twin_says_what_runs(rig: Rig) -> None:
    twin = reported(rig)
    said = twin["firmware"], twin["record_schema"], twin["model_set"]
    assert said == (__version__, 1, "0000fa17")
    assert twin["capabilities"] == {"mode": "attributes", "context": "retail"}
    assert twin["numbers"] >= max(rig.tally.sealed())
    assert twin["identity"]["expires"] > "2026"


def test_a_setting_is_applied_and_a_wrong_one_answered_with_its_reason(rig: Rig) -> None:
    version = rig.hub.patch(DEVICE, {"health": {"every_s": 1.0}})
    eventually(lambda: reported(rig).get("settings", {}).get("version") == version)
    assert reported(rig)["settings"]["health"] == {"every_s": 1.0}
    rig.hub.patch(DEVICE, {"health": {"every_s": 0.0}})
    eventually(lambda: "health.every_s" in str(reported(rig)["settings"].get("rejected")))
    rig.hub.patch(DEVICE, {"health": {"every_s": 1.0}})
    eventually(lambda: "rejected" not in reported(rig)["settings"])  # null deletes
    rig.hub.patch(DEVICE, {"health": {"every_s": None}})
    eventually(lambda: reported(rig)["settings"]["health"] == {"every_s": 5.0})  # as in the file


def test_health_arrives_sealed_and_whole(rig: Rig) -> None:
    def newest() -> HealthBody:
        found = opened(rig, "health")
        return found[-1].record if found and isinstance(found[-1].record, dict) else {}

    rig.hub.patch(DEVICE, {"health": {"every_s": 1.0}})
    eventually(lambda: newest().get("delivered") == len(rig.tally.stored))
    body = newest()
    assert {
        *("frames_per_s_x10", "visitors_now", "interactions", "wipes", "selftest"),
        *("temperature_c", "temperatures_c", "throttled_percent", "resident_kb"),
        *("waiting", "delivered", "dropped", "reconnects", "restarts", "uplink_fault"),
        *("clock_synchronised", "clock_offset_us", "clock_error_ms", "clock_jumps"),
        *("firmware", "model_set", "sent_bytes", "sent_messages", "certificate_days"),
        *("paused", "guarantees_missing", "uptime_s", "at_utc_s"),
    } <= set(body)
    assert isinstance(body["sent_bytes"], int) and body["sent_bytes"] > 1000
    assert body["certificate_days"] == 364


# ---- the recipient's key -----------------------------------------------------------------------


def test_records_before_and_after_a_new_recipient_open_with_both_keys(rig: Rig) -> None:
    def numbers(keys: list[Path]) -> list[int]:
        return [one.number for one in opened(rig, "interaction", keys)]

    def changed_over() -> bool:
        more(rig, 1)
        return bool(numbers(rig.tally.secrets[-1:]))

    more(rig, 3)
    rig.new_recipient()
    eventually(changed_over)
    more(rig, 4)
    before, after = numbers(rig.tally.secrets[:-1]), numbers(rig.tally.secrets[-1:])
    assert before + after == rig.tally.sealed() == numbers(rig.tally.secrets)
    assert len(after) >= 5


def test_a_hub_that_names_its_own_recipient_gets_nothing_it_can_read(rig: Rig) -> None:
    assert "not signed by this device's operator" in rig.swap_recipient()
    more(rig, 3)
    own = list(rig.folder.glob("hub-s-own-*/*.key"))
    assert own
    assert not opened(rig, "interaction", own)
    assert not opened(rig, "health", own)


# ---- what is not said --------------------------------------------------------------------------


def test_no_key_and_no_token_stands_in_the_sensors_log(rig: Rig) -> None:
    rig.hub.certificate("stranger")
    rig.hub.kick(DEVICE)
    eventually(lambda: b'"hub_lost"' in rig.log.read_bytes())
    rig.hub.certificate("good")
    more(rig, 2)
    known, log = secrets(rig.folder), rig.log.read_bytes()
    assert len(known) >= 6  # lines of the device's, operator's and recipients' keys
    assert leaks(log, known) == []
    key = (rig.folder / "identity" / identity.KEY_FILE).read_bytes()
    assert len(leaks(log + key, known)) > 2  # it would have been found


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


def test_no_shared_key_and_no_token_stands_in_a_log(cloud: Bench) -> None:
    """A device by shared key, which makes tokens, through a loss, a refusal and a hang."""
    group_key = bytes(range(64, 128))
    cloud.hub.enrol("group", group=True, keys=[base64.b64encode(group_key).decode()])
    device = cloud.stranger(**cloud.by_registration(), acknowledge_s=1.0)
    derived = base64.b64encode(hmac.digest(group_key, device.name.encode(), hashlib.sha256))
    (device.directory / identity.CERTIFICATE_FILE).unlink()
    path = device.directory / identity.SHARED_KEY_FILE
    path.write_bytes(derived)
    path.chmod(0o600)
    with uplink(device) as up:
        up.wait_for(messages.UplinkReady)
        cloud.hub.fault("refuse", "connect", device=device.name, count=1, code=5)
        cloud.hub.kick(device.name)
        up.wait_for(messages.HubLost)
        up.wait_for(messages.UplinkReady)
        cloud.hub.fault("no_ack", "telemetry", device=device.name, count=1)
        up.send(*device.sealed(1))
        assert up.wait_for(messages.Failed).error == "UplinkError"
        said = up.words().encode()
    said += b"".join(repr(one).encode() for one in up.heard)
    known = secrets(device.directory, cloud.hub.state)
    assert derived[:24] in known
    assert b'"hub_stalled"' in said
    assert leaks(said, known) == []


def test_marks_of_a_connection_string_are_found() -> None:
    said = b'"HostName=h;SharedAccessKeyName=n;SharedAccessKey=abc"'
    assert set(leaks(said, ())) == {b"HostName=", b"SharedAccess"}
    assert leaks(json.dumps({"event": "hub_lost"}).encode(), MARKS) == []


def test_replayed_and_altered_messages_are_not_taken(rig: Rig) -> None:
    assert rig.tally.tampered(random.Random(1), 60) == {
        "replayed": 60,
        "replayed_taken": 0,
        "altered": 60,
        "altered_taken_whole": 0,
    }


# ---- the end -----------------------------------------------------------------------------------


def test_a_reboot_delivers_what_waits_and_ends_with_its_own_status(rig: Rig) -> None:
    rig.hub.fault("throttle", "telemetry", count=1, seconds=1.0)
    rig.allow(len(rig.tally.sealed()) + 20)
    assert rig.hub.call(DEVICE, "reboot")[0] == 200
    assert rig.process.wait(30) == REBOOT_STATUS
    rig.tally.look()
    assert set(rig.tally.sealed()) == set(rig.tally.opened())
