"""The uplink process against a hub: what arrives, in which order, once, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware import messages
from firmware.recipient import PrivateKey
from tests.integration.bench import Bench, bench, uplink


@pytest.fixture(scope="module")
def recipient() -> PrivateKey:
    return PrivateKey.generate()


@pytest.fixture
def cloud(tmp_path: Path, recipient: PrivateKey) -> Iterator[Bench]:
    with bench(tmp_path, recipient.public_bytes()) as made:
        yield made


def test_records_arrive_in_order_and_are_acknowledged(cloud: Bench) -> None:
    with uplink(cloud.device) as up:
        assert up.wait_for(messages.UplinkReady).hub == cloud.host
        up.send(*(cloud.device.sealed(number) for number in range(1, 8)))
        up.delivered(set(range(1, 8)))
        up.send(messages.Stop())
        assert up.ended() == 0
    assert cloud.numbers() == list(range(1, 8))
