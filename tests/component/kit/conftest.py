"""Servers and certificates for the tests of calls."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.kit.authority import Authority
from tests.component.kit.echo import Served, serving


@pytest.fixture
async def served(socket_dir: Path) -> AsyncIterator[Served]:
    """The echo service on a unix socket."""
    async with serving(socket_dir / "echo.sock") as running:
        yield running


@pytest.fixture(scope="session")
def authority() -> Authority:
    """An authority that both sides trust."""
    return Authority.create()
