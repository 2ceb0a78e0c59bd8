"""A node to talk to, and swarmctl to talk with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import app
from tests.component.cli.background import Background
from tests.component.cli.fakes import Node


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


Swarmctl = Callable[..., Done]


@pytest.fixture
def node(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node without a swarm, which swarmctl is aimed at."""
    monkeypatch.setenv("BEEYARD_HOST", f"unix://{socket_dir}")
    monkeypatch.delenv("BEEYARD_CONTEXT", raising=False)
    made = Node(socket_dir)
    with Background(made.servers):
        yield made


@pytest.fixture
def swarmctl(capfd: pytest.CaptureFixture[str]) -> Swarmctl:
    """Run a command line in this process."""

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        code = app.run(arguments)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run
