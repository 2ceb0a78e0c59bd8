"""Yards as everywhere, of which each test must leave as much as it found.

Their daemons serve metrics, and have done everything once: what they keep from then on is no leak. What is compared
says `footprint`, for every test of this directory.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from beeyard.container.v1 import container_pb2 as pb
from services.kit.rpc import client
from tests.component.containerd.stress.footprint import METRICS, footprint, grown
from tests.component.containerd.yard import Yard, yard


async def warm_up(made: Yard) -> None:
    """Let a daemon do a little of everything."""

    async def requests() -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(spec=pb.ExecSpec(container=container, argv=["true"]))

    container = await made.create("sleep", "1000")
    await made.start(container)
    async for _ in client.stream(made.stub.Exec(requests())):
        pass
    await made.logs(container)
    await made.clear()


@contextlib.asynccontextmanager
async def left_as_found(made: Yard) -> AsyncIterator[Yard]:
    """Compare the footprints of a node without containers, before and after."""
    before = await footprint(made)
    yield made
    await made.clear()
    assert await grown(made, before) == {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def each_yard(runtime: str, module_dir: Path) -> AsyncIterator[Yard]:
    directory = module_dir / runtime
    directory.mkdir()
    async with yard(directory, runtime=runtime, **METRICS) as made:
        await warm_up(made)
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_yard(module_dir: Path) -> AsyncIterator[Yard]:
    directory = module_dir / "auto"
    directory.mkdir()
    async with yard(directory, **METRICS) as made:
        await warm_up(made)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def each(each_yard: Yard) -> AsyncIterator[Yard]:
    async with left_as_found(each_yard) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def one(one_yard: Yard) -> AsyncIterator[Yard]:
    async with left_as_found(one_yard) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def own(socket_dir: Path) -> AsyncIterator[Yard]:
    async with yard(socket_dir, **METRICS) as made:
        await warm_up(made)
        async with left_as_found(made):
            yield made
