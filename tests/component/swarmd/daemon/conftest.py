"""A swarm for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.swarmd.daemon.swarm import Swarm, swarm


@pytest.fixture
async def fleet(socket_dir: Path) -> AsyncIterator[Swarm]:
    """Starts nodes, and stops them when the test ends."""
    async with swarm(socket_dir) as running:
        yield running
