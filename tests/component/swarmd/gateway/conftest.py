"""Two managers and a worker, as far as their gateways go."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.swarmd.ca.authority import Authority
from tests.component.swarmd.gateway.gatenode import Directory, GateNode, gate_node, new_root

ROOT = new_root()


@pytest.fixture
def root() -> Authority:
    return ROOT


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
async def m1(socket_dir: Path, directory: Directory) -> AsyncIterator[GateNode]:
    async with gate_node(socket_dir / "m1", ROOT, directory, "m1") as node:
        yield node


@pytest.fixture
async def m2(socket_dir: Path, directory: Directory) -> AsyncIterator[GateNode]:
    async with gate_node(socket_dir / "m2", ROOT, directory, "m2") as node:
        yield node


@pytest.fixture
async def w1(socket_dir: Path, directory: Directory) -> AsyncIterator[GateNode]:
    async with gate_node(socket_dir / "w1", ROOT, directory, "w1", manager=False) as node:
        yield node
