"""What a hub knows survives it on disk; what is half written does not count."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hil.local_hub import state
from hil.local_hub.capture import Capture, events
from hil.local_hub.cloud import Cloud, Options
from hil.local_hub.dps import Registration
from hil.local_hub.enrolment import Enrolment
from hil.local_hub.errors import ServiceError
from hil.local_hub.iot_hub import Device, Telemetry
from hil.local_hub.twin import Properties
from provisioning.authority import Authority, pem
from tests.unit.hub_identities import KEY, self_signed


def cloud(directory: Path, *authorities: Path, forget_sessions: bool = False) -> Cloud:
    options = Options(
        "127.0.0.1", directory, authorities=authorities, forget_sessions=forget_sessions
    )
    with closing(Cloud(options)) as made:
        return made


def filled(directory: Path) -> Cloud:
    made = cloud(directory)
    made.hubs["127.0.0.1"].devices["dev1"] = Device(
        "dev1",
        keys=(KEY,),
        thumbprints=("AB",),
        certificates=(self_signed("dev1")[0],),
        by_authority=True,
        enabled=False,
        desired=Properties({"a": {"b": 1}}, 7),
        reported=Properties({"c": [1]}, 9),
        subscriptions={"$iothub/twin/res/#"},
    )
    authority = Authority.root("Root").certificate
    made.provisioning.enrolments["all"] = Enrolment(
        "all", group=True, certificates=(authority,), hubs=("h",), desired={"x": 1}, payload=[2]
    )
    made.provisioning.registrations["dev1"] = Registration("dev1", "h", "dev1", "all", {}, 1.0, 2.0)
    made.changed()
    made.save()
    return made


def test_everything_is_there_again(tmp_path: Path) -> None:
    before, after = filled(tmp_path), cloud(tmp_path)
    assert after.hubs["127.0.0.1"].devices == before.hubs["127.0.0.1"].devices
    assert after.provisioning.enrolments == before.provisioning.enrolments
    assert after.provisioning.registrations == before.provisioning.registrations
    assert after.trusted() == before.trusted()
    assert len(after.trusted()) == 2


def test_sessions_can_be_left_behind(tmp_path: Path) -> None:
    filled(tmp_path)
    device = cloud(tmp_path, forget_sessions=True).hubs["127.0.0.1"].devices["dev1"]
    assert device.subscriptions == set()
    assert device.desired == Properties({"a": {"b": 1}}, 7)


def test_keys_on_disk_are_for_their_owner_only(tmp_path: Path) -> None:
    filled(tmp_path)
    assert (tmp_path / "hub.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "tree", [{"id": "a b"}, {"id": "a", "keys": ["short"]}, {"id": "a", "x": 1}]
)
def test_a_device_that_cannot_be_is_refused(tree: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        state.device(tree)


def test_an_authority_that_cannot_be_read_is_a_service_error(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    with pytest.raises(ServiceError, match="FileNotFoundError"):
        cloud(tmp_path, path)
    path.write_text("no certificate")
    with pytest.raises(ServiceError, match="ValueError"):
        cloud(tmp_path, path)
    path.write_bytes(pem(Authority.root("Root").certificate))
    assert len(cloud(tmp_path, path).trusted()) == 1


MESSAGE = Telemetry("hub", "dev1", b"\0\xff", {"kind": "records"}, {"message-id": "m1"}, 1.25)


def test_a_captured_message_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    with closing(Capture(path)) as capture:
        capture.write(MESSAGE)
        [event] = events(path)
    assert (event.device, event.message_id, event.body) == ("dev1", "m1", b"\0\xff")
    assert (event.properties, event.at, capture.messages) == ({"kind": "records"}, 1.25, 1)


def test_a_capture_is_continued_and_a_half_line_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "capture.jsonl"
    with closing(Capture(path)) as capture:
        capture.write(MESSAGE)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert len(list(events(path))) == 1
    with closing(Capture(path)) as capture:
        capture.write(MESSAGE)
    assert path.read_bytes() == whole * 2
