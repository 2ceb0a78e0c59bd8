"""A yard per test; the tests that drive a runtime run with each that is installed."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.containerd.yard import Yard, yard

RUNTIMES = [
    pytest.param(
        name, marks=[] if shutil.which(name) else pytest.mark.skip(reason=f"{name} is not installed")
    )
    for name in ("crun", "runc")
]


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime in turn."""
    return str(request.param)


@pytest.fixture
async def each(runtime: str, socket_dir: Path) -> AsyncIterator[Yard]:
    """A yard whose daemon uses one runtime; the test runs once with each."""
    async with yard(socket_dir, runtime=runtime) as made:
        yield made


@pytest.fixture
async def one(socket_dir: Path) -> AsyncIterator[Yard]:
    """A yard whose daemon has chosen its runtime itself."""
    async with yard(socket_dir) as made:
        yield made
