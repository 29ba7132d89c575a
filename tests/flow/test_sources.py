"""Where records come from: Event Hubs, the local hub's socket, and a finished demo."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub._pyamqp.message import Message as AmqpMessage
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection

from firmware.recipient import PrivateKey
from flow import demo
from flow.ingest import event_hub
from flow.ingest.opening import Message, Opener
from flow.management.commands import adopt
from flow.models import Customer, NumberBlock, Quarantined, Role, Sensor, SensorDay, Site, User
from tests.flow.devices import Device, visit


def received(message: Message) -> EventData:
    """A hub message as the SDK hands it over."""
    annotations: dict[str | bytes, Any] = {
        b"iothub-connection-device-id": message.device.encode(),
        b"x-opt-enqueued-time": message.enqueued_utc_s * 1000,
        b"x-opt-sequence-number": 5,
    }
    amqp = AmqpMessage(data=[message.body], message_annotations=annotations)
    return EventData._from_message(amqp)


class Consumer:
    """The SDK's consumer without its broker: hands out one batch and notes the checkpoints."""

    def __init__(self, events: list[EventData]) -> None:
        self.events = events
        self.checkpoints = 0

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update_checkpoint(self) -> None:
        self.checkpoints += 1

    def receive_batch(self, on_batch: Callable[..., None], **_: object) -> None:
        on_batch(self, self.events)
        on_batch(self, [])


@pytest.fixture
def events(device: Device, recipient: PrivateKey, noon: datetime) -> list[EventData]:
    at = int(noon.timestamp())
    return [
        received(device.message([device.sealed(number, visit(at), recipient)], at))
        for number in range(3)
    ]


@pytest.mark.django_db(transaction=True)
def test_a_partition_is_checked_off_after_its_records_are_stored(
    events: list[EventData], recipient: PrivateKey
) -> None:
    consumer: Any = Consumer(events)
    event_hub.run(Opener([recipient]), consumer)
    assert consumer.checkpoints == 1
    assert SensorDay.objects.get().records == 3
    again: Any = Consumer(events)  # another worker takes the partition over
    event_hub.run(Opener([recipient]), again)
    assert SensorDay.objects.get().records == 3


@pytest.mark.django_db(transaction=True)
def test_what_could_not_be_stored_is_not_checked_off(
    events: list[EventData], recipient: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(event_hub, "stored", away)
    consumer: Any = Consumer(events)
    with pytest.raises(DatabaseError):
        event_hub.run(Opener([recipient]), consumer)
    assert consumer.checkpoints == 0


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_there_before_its_database_says_so_and_waits(
    run_folder: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(3)
    monkeypatch.setenv("FLOW_RECIPIENT_KEYS", str(folder / "recipient" / "recipient.key"))

    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    class Operator(StringIO):
        """Who reads the line and sees to the database."""

        def write(self, text: str) -> int:
            rename("away", "flow_sensor")
            return super().write(text)

    told, done = Operator(), StringIO()
    rename("flow_sensor", "away")
    call_command("ingest", capture=folder / "hub" / "capture.jsonl", stdout=done, stderr=told)
    assert told.getvalue().startswith("the database does not answer, trying again: ")
    assert told.getvalue().count("\n") == 1
    assert done.getvalue().startswith("stored=")


@pytest.fixture
def run_folder(tmp_path: Path, recipient: PrivateKey, customer: Customer) -> Callable[[int], Path]:
    """A demo's folder with so many visitors; each demo's sensor has a key of its own."""
    made = iter(range(9))

    def make(visitors: int) -> Path:
        folder = tmp_path / str(next(made))
        for part in ("hub", "recipient", "authority/issued"):
            (folder / part).mkdir(parents=True)
        key = folder / "recipient" / "recipient.key"
        key.touch(mode=0o600)
        key.write_bytes(recipient.to_bytes())
        sensor = Device("demo-sensor", ec.generate_private_key(ec.SECP256R1()))
        (folder / "authority" / "issued" / "demo-sensor.pem").write_text(sensor.certificate())
        at = int(datetime.now(timezone.utc).timestamp())
        messages = [
            sensor.message([sensor.sealed(number, visit(at), recipient)], at)
            for number in range(1, visitors + 1)
        ]
        (folder / "hub" / "capture.jsonl").write_text("".join(map(line, messages)))
        return folder

    return make


def line(message: Message) -> str:
    body = base64.b64encode(message.body).decode()
    return json.dumps({"device": message.device, "at": message.enqueued_utc_s, "body": body}) + "\n"


def take_over(folder: Path, **how: Any) -> None:
    call_command("adopt", folder, customer="Nordlys", stdout=StringIO(), **how)


def test_the_second_demos_sensor_takes_the_place_of_the_first(
    run_folder: Callable[[int], Path],
) -> None:
    take_over(run_folder(4))
    take_over(run_folder(2))
    assert SensorDay.objects.get().records == 2
    assert NumberBlock.objects.count() == 1
    assert not Quarantined.objects.exists()


def test_a_folder_without_a_demo_is_said_to_be_one(customer: Customer, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="holds no demo"):
        take_over(tmp_path)


@pytest.fixture
def hub(run_folder: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A demo whose hub still runs: its control socket hands out what it captured, then waits."""
    folder = run_folder(3)
    monkeypatch.chdir(folder)
    messages = (folder / "hub" / "capture.jsonl").read_bytes()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("hub/control.sock")
        listening.listen()
        over = threading.Event()

        def serve() -> None:
            channel, _ = listening.accept()
            with channel:
                channel.recv(1000)
                channel.sendall(messages)
                over.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Path()
        over.set()
        thread.join()


def test_a_running_hub_is_drained_and_the_worker_ends(hub: Path) -> None:
    take_over(hub, hub=True)
    assert SensorDay.objects.get().records == 3


@pytest.mark.django_db(transaction=True)
def test_the_visitors_are_seen_over_http_by_whoever_logs_in(
    live_server: Any, run_folder: Callable[[int], Path], customer: Customer
) -> None:
    take_over(run_folder(3))
    User.objects.create_user(
        demo.EMAIL, "seven quiet lamps", customer=customer, role=Role.ADMINISTRATOR
    )
    page = f"/?site={adopt.SITE}&period=7d"
    tiles = demo.look(live_server.url, "seven quiet lamps", page)
    assert tiles["Visitors"] == "3" and tiles["Mean stay"] == "8.0 s"
    assert "Visitors" not in demo.look(live_server.url, "another password", page)
    assert Site.objects.get().sensors.get() == Sensor.objects.get()
