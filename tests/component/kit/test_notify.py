"""sd_notify against a real datagram socket."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kit.notify import Notifier


@contextlib.contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        receiver.bind(address)
        yield receiver


def test_messages_arrive(socket_dir: Path) -> None:
    with manager(str(socket_dir / "notify")) as receiver:
        Notifier(str(socket_dir / "notify"), 0).send(READY="1", STATUS="serving")
        assert receiver.recv(100) == b"READY=1\nSTATUS=serving"


def test_abstract_sockets_are_understood() -> None:
    name = f"beeyard-test-{os.getpid()}"
    with manager(f"\0{name}") as receiver:
        Notifier(f"@{name}", 0).send(STOPPING="1")
        assert receiver.recv(100) == b"STOPPING=1"


async def test_the_watchdog_is_fed_twice_per_period(socket_dir: Path) -> None:
    with manager(str(socket_dir / "notify")) as receiver:
        receiver.setblocking(False)
        loop = asyncio.get_running_loop()
        feeding = asyncio.create_task(Notifier(str(socket_dir / "notify"), 0.02).watchdog())
        for _ in range(3):
            assert await loop.sock_recv(receiver, 100) == b"WATCHDOG=1"
        feeding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await feeding


def test_the_environment_is_read_once_and_not_passed_on() -> None:
    environ = {
        "NOTIFY_SOCKET": "/run/x",
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    assert Notifier.from_environ(environ).watchdog_s == 3.0
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": ""}],
)
def test_no_watchdog_for_us(environ: dict[str, str]) -> None:
    assert Notifier.from_environ(environ).watchdog_s == 0.0


def test_a_manager_that_is_gone_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    Notifier("", 0).send(READY="1")
    assert caplog.records == []
    Notifier("/nonexistent/socket", 0).send(READY="1")
    assert [record.getMessage() for record in caplog.records] == ["notify_failed"]
