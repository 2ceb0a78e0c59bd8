"""A manager with its API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.swarmd.api.desk import Desk, desk


@pytest.fixture
async def at(socket_dir: Path) -> AsyncIterator[Desk]:
    async with desk(socket_dir) as made:
        yield made
