"""Signals that come while a container is being started, whose start does not end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from beeyard.container.v1 import container_pb2 as pb
from cli.errors import ExitWith
from cli.streams import Joined


@pytest.fixture
def quiet() -> Iterator[int]:
    """A connection on which nothing comes."""
    ends = os.pipe()
    yield ends[0]
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(
    ("proxied", "sent", "code"),
    [
        (False, ["SIGTERM"], 143),
        (False, ["SIGINT"], 130),
        (True, ["SIGTERM", "SIGINT"], 130),
        (True, ["SIGTERM", "SIGUSR1", "SIGTERM"], 143),
    ],
)
def test_they_end_a_client_that_waits_for_a_start(
    quiet: int, proxied: bool, sent: list[str], code: int
) -> None:
    to_send = list(sent)

    def pump(_seconds: float) -> None:
        if to_send:
            signal.raise_signal(signal.Signals[to_send.pop(0)])

    def start() -> Any:
        pump(0)
        return SimpleNamespace(done=False)

    def kill(number: signal.Signals, /) -> Any:
        raise AssertionError(f"{number.name} cannot arrive yet")

    joined = Joined(
        SimpleNamespace(fileno=lambda: quiet, wants_to_write=False, pump=pump),  # type: ignore[arg-type]
        SimpleNamespace(take=lambda: None, done=False, congested=False),  # type: ignore[arg-type]
        pb.AttachContainerRequest,
        stdin=False,
        tty=False,
        kill=kill if proxied else None,
    )
    with pytest.raises(ExitWith) as ended:
        joined.run(start)
    assert (ended.value.code, to_send) == (code, [])
