"""What holds for every test: nothing is left behind, and what asyncio complains about fails the test."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

SETTLE_S_MAX = 2.0
"""How long what was closed may take to disappear, on a busy machine."""

settings.register_profile("unhurried", deadline=None)  # a test is no judge of time
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Let programs under test be interrupted, also where the tests run behind a shell that ignores SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need root where there is none, and say so in the summary."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: run as root to test against the kernel"))


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """A directory whose path is short enough for unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="by-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves child processes or open files, or, if it is async, tasks."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("no_loop_leaks")
    children, files = _children(), _open_files()
    yield
    leaked_children = _settled(lambda: _children() - children)
    leaked_files = _settled(lambda: {fd: name for fd, name in _open_files().items() if files.get(fd) != name})
    assert not leaked_children, f"child processes left behind: {[_command(pid) for pid in leaked_children]}"
    assert not leaked_files, f"files left open: {leaked_files}"


@pytest.fixture
async def no_loop_leaks(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail an async test that leaves tasks, or an exception that nobody has seen."""
    loop = asyncio.get_running_loop()
    loop.set_debug("system" not in Path(request.node.path).parts)
    unseen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: unseen.append(context))
    before = asyncio.all_tasks()
    yield
    deadline = loop.time() + SETTLE_S_MAX
    while (left := asyncio.all_tasks() - before - {asyncio.current_task()}) and loop.time() < deadline:
        await asyncio.sleep(0.01)
    assert not left, f"tasks left running: {left}"
    # grpc's poller shares a file descriptor between threads and loses races on it, by design.
    unseen = [context for context in unseen if not isinstance(context.get("exception"), BlockingIOError)]
    assert not unseen, f"asyncio reported: {unseen}"


def _settled(left: Callable[[], Any]) -> Any:
    """Return what `left` finds when it finds nothing, or when waiting does not help."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while (found := left()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def _children() -> set[int]:
    """The pids of our children, zombies included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, (task / "children").read_text().split()))
    return found


def _command(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            or f"zombie {pid}"
        )
    except FileNotFoundError:
        return f"pid {pid}"


def _open_files() -> dict[str, str]:
    """Our open files and pipes. Sockets and anonymous inodes come and go with gRPC's own threads and are left out."""
    found: dict[str, str] = {}
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            name = str(link.readlink())
            if name.startswith(("/", "pipe:")) and not name.startswith(("/dev/", "/proc/")):
                found[link.name] = name
    return found
