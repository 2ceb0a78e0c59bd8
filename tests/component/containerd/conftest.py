"""Yards: one for all tests of a module, or one for a test that stops its daemon or spoils its image.

Starting a daemon takes longer than most tests. After each test of a shared yard all containers go, and nothing may be
left of them. The tests that drive a runtime run with each that is installed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.component.containerd.yard import Yard, yard

RUNTIMES = [
    pytest.param(
        name, marks=[] if shutil.which(name) else pytest.mark.skip(reason=f"{name} is not installed")
    )
    for name in ("crun", "runc")
]


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def module_dir() -> Iterator[Path]:
    """A short directory for a shared yard."""
    directory = Path(tempfile.mkdtemp(prefix="by-", dir="/tmp"))
    directory.chmod(0o711)  # who is root in a user namespace is not root on the way to its files
    yield directory
    shutil.rmtree(directory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def each_yard(runtime: str, module_dir: Path) -> AsyncIterator[Yard]:
    directory = module_dir / runtime
    directory.mkdir()
    async with yard(directory, runtime=runtime) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_yard(module_dir: Path) -> AsyncIterator[Yard]:
    directory = module_dir / "auto"
    directory.mkdir()
    async with yard(directory) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def each(each_yard: Yard) -> AsyncIterator[Yard]:
    """The module's yard whose daemon uses one runtime; the test runs once with each."""
    yield each_yard
    await each_yard.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def one(one_yard: Yard) -> AsyncIterator[Yard]:
    """The module's yard whose daemon has chosen its runtime itself."""
    yield one_yard
    await one_yard.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def own_each(runtime: str, socket_dir: Path) -> AsyncIterator[Yard]:
    """As `each`, for one test alone."""
    async with yard(socket_dir, runtime=runtime) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def own(socket_dir: Path) -> AsyncIterator[Yard]:
    """As `one`, for one test alone."""
    async with yard(socket_dir) as made:
        yield made
