"""Daemons for the tests of this directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.component.imaged.rig import Daemon


@pytest.fixture
async def make_daemon(socket_dir: Path) -> AsyncIterator[Callable[..., Daemon]]:
    """Make daemons by name; what still runs at the end is killed."""
    made: list[Daemon] = []

    def make(name: str = "one", settings: str = "") -> Daemon:
        directory = socket_dir / name
        directory.mkdir()
        made.append(Daemon(directory, settings))
        return made[-1]

    yield make
    for daemon in made:
        if daemon.is_running:
            await daemon.kill()


@pytest.fixture
async def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """Return a running daemon."""
    made = make_daemon()
    await made.start()
    return made
