"""One hub for all contract tests of a module."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from tests.contract.hub_bench import Bench, bench


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
def leftovers() -> Iterator[None]:
    """The SDK leaves the sockets of ended clients to the garbage collector: here, it is called."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
