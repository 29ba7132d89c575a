"""What a hub may put into a twin or a method call must not end the uplink, over and over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware import messages
from firmware.drivers.azure_hub import AzureCloud
from firmware.uplink import identity
from firmware.uplink.outgoing import Answer, Patch
from firmware.uplink.worker import Uplink
from provisioning.authority import Authority
from tests import keys

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
)
LONE = "\ud800"
"""Half a character: JSON can say it, UTF-8 cannot."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Uplink, socket.socket]]:
    """An uplink that runs nothing, and the supervisor's end of its channel."""
    folder = tmp_path_factory.mktemp("identity")
    batch = Authority.root("Root").batch("Batch")
    pem = batch.device(identity.request(folder, "sensor-1"))
    (folder / identity.CERTIFICATE_FILE).write_bytes(pem)
    ours, theirs = messages.pair()
    ours.settimeout(0.2)
    tree = {"identity": {"directory": str(folder)}, "hub": {"host": "hub.test"}}
    start = messages.StartUplink(tree, "sensor-1", keys.private_key().public_bytes())
    yield Uplink(theirs, start, AzureCloud()), ours
    ours.close()
    theirs.close()


def told(channel: socket.socket) -> list[messages.AnyMessage]:
    found: list[messages.AnyMessage] = []
    channel.setblocking(False)
    while True:
        try:
            message = messages.receive(channel)
        except BlockingIOError:
            return found
        assert message is not None
        found.append(message)


@pytest.mark.parametrize(
    "values",
    [
        {"score": 10**30},
        {"score": LONE},
        {LONE: 1},
        {"score": "x" * messages.MAX_PACKET},
    ],
)
def test_desired_properties_that_cannot_be_passed_on_are_answered(
    pair: tuple[Uplink, socket.socket], values: dict[str, Any]
) -> None:
    up, channel = pair
    up.desired({"detection": values, "$version": 7})
    assert told(channel) == []
    item = up._outgoing.next(0)
    assert item == Patch({"settings": {"version": 7, "rejected": "twin: no setting is like that"}})
    up._outgoing.sent(item)


@pytest.mark.parametrize("payload", [{"n": 10**30}, {"s": LONE}, {"s": "x" * messages.MAX_PACKET}])
def test_a_call_that_cannot_be_passed_on_is_answered(
    pair: tuple[Uplink, socket.socket], payload: dict[str, Any]
) -> None:
    up, channel = pair
    up.called("1", "ping", payload)
    assert told(channel) == []
    item = up._outgoing.next(0)
    assert item == Answer("1", 413, {"error": "no such payload"})
    up._outgoing.sent(item)


@pytest.mark.parametrize(
    ("section", "key"), [("identity", "certificate"), ("recipient", "statement")]
)
def test_half_a_character_is_no_certificate_and_no_statement(
    pair: tuple[Uplink, socket.socket], section: str, key: str
) -> None:
    pair[0].desired({section: {key: LONE}})
    assert pair[0]._outgoing.empty


@settings(
    derandomize=True,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.dictionaries(
        st.sampled_from(["$version", "identity", "recipient", "detection", "health", LONE]),
        JSON | st.dictionaries(st.sampled_from(["certificate", "statement", "score"]), JSON),
    )
)
def test_any_desired_properties_are_passed_on_or_answered(
    pair: tuple[Uplink, socket.socket], properties: dict[str, Any]
) -> None:
    up, channel = pair
    up.desired(properties)
    for message in told(channel):
        assert isinstance(message, messages.Desired)
    while (item := up._outgoing.next(0)) is not None:
        assert isinstance(item, Patch)
        up._outgoing.sent(item)
