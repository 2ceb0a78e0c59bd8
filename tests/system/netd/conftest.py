from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.kit.rpc.client import channel_unix
from tests.system.netd.client import Client
from tests.system.netd.world import Daemon, Namespace, node_and_client


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Namespace, Namespace]]:
    """The node's namespace and the client's."""
    with node_and_client(tmp_path_factory.mktemp("world")) as both:
        yield both


@pytest.fixture(scope="module")
def node(world: tuple[Namespace, Namespace]) -> Namespace:
    return world[0]


@pytest.fixture(scope="module")
def outside(world: tuple[Namespace, Namespace]) -> Namespace:
    return world[1]


@pytest.fixture(scope="module")
def settings() -> str:
    return ""


@pytest.fixture(scope="module")
def daemon(node: Namespace, settings: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running netd."""
    directory = tmp_path_factory.mktemp("d", numbered=True)
    daemon = Daemon(node, short(directory), settings)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.clean_up()
        assert "Traceback" not in daemon.log(), daemon.log()


def short(directory: Path) -> Path:
    """Return a directory whose path leaves room for the name of a socket."""
    assert len(str(directory / "run" / "netd.sock")) < 108, directory
    return directory


@pytest.fixture
async def netd(daemon: Daemon) -> AsyncIterator[Client]:
    """A client of it. What a test makes through it is removed after the test."""
    async with channel_unix(daemon.socket) as channel:
        client = Client(channel)
        yield client
        await client.remove_all()
