"""One hub for all contract tests of a module."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator

import pytest
from azure.iot.device.provisioning.pipeline import constant

from tests.contract.hub_bench import Bench, bench
from tests.contract.raw_device import PATIENCE_S


@pytest.fixture(scope="module")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("cloud"), "--websocket-port", "8884") as made:
        yield made


@pytest.fixture
def cloud(running_cloud: Bench) -> Iterator[Bench]:
    """The module's hub, without any fault that an earlier test armed."""
    yield running_cloud
    running_cloud.hub.clear_faults()


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Room for the SDK, which leaves the sockets of ended clients to the garbage collector."""
    # It always waits for 2 s before it first asks DPS what has become of a registration.
    monkeypatch.setattr(constant, "DEFAULT_POLLING_INTERVAL", 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for spoken in ("Callback API version 1", "ssl.PROTOCOL_TLSv1_2"):
            warnings.filterwarnings("ignore", spoken, DeprecationWarning)
        yield
        for thread in threading.enumerate():
            if "paho" in thread.name:
                thread.join(PATIENCE_S)
        gc.collect()
