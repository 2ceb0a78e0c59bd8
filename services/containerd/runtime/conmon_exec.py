"""conmon for one more process in a running container (`exec`).

Three pipes order the start: conmon waits for a byte on the start pipe, says on the attach pipe when its socket is
there, waits for a second byte so that nothing is missed, and reports on the sync pipe the pid, and at the end the exit
code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from services.containerd.kernel import processes
from services.containerd.runtime import conmon
from services.containerd.runtime.conmon import CreateFailed
from services.containerd.runtime.spawn import leave, wait
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from services.containerd.model.status import ProcessRef
    from services.containerd.runtime.flavour import Flavour
    from services.containerd.runtime.layout import Layout
    from services.containerd.runtime.spawn import Spawner

START_TIMEOUT_S = 60.0
DIRECTORY = "exec"
"""Below a container's bundle; holds a directory per exec."""
PROCESS_FILE = "process.json"
LOG_FILE = "conmon.log"
"""Is there as soon as conmon may be."""
_PID_FILE = "conmon.pid"


def argv(
    program: str,
    flavour: Flavour,
    layout: Layout,
    container_id: str,
    directory: Path,
    *,
    tty: bool,
    stdin: bool,
) -> list[str]:
    """Return the command line. Pure."""
    arguments = [
        program,
        "--api-version", "1",
        "-c", container_id,
        "-u", directory.name,
        "-n", directory.name,
        "-r", flavour.path,
        "-b", str(directory),
        "-p", str(directory / "pidfile"),
        "-P", str(directory / _PID_FILE),
        "-l", "none",
        "--full-attach",
        "--log-level", "error",
        "-e",
        "--exec-attach",
        "--exec-process-spec", str(directory / PROCESS_FILE),
        f"--runtime-arg=--root={layout.runtime_root}",
    ]  # fmt: skip
    if stdin:
        arguments.append("-i")
    if tty:
        arguments.append("-t")
    return arguments


def directory_of(arguments: Sequence[str]) -> str | None:
    """Return the directory of the exec that a command line runs, None if it is no conmon of an exec."""
    if not arguments or Path(arguments[0]).name != "conmon" or "-e" not in arguments:
        return None
    try:
        return arguments[arguments.index("-b") + 1]
    except (ValueError, IndexError):
        return None


def monitor_of(directory: Path) -> ProcessRef | None:
    """Return the conmon of an exec that has begun, None if it has ended."""
    try:
        pid = int((directory / _PID_FILE).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return processes.reference(pid)


class ExecProcess:
    """One conmon that runs one exec. An async context manager: leaving it closes the pipes, not the process.

    Args:
        directory: Of this exec alone; holds the process file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with contextlib.ExitStack() as on_failure:  # there may be descriptors for a part of them only
            sync_read, self._sync_write = _pipe(on_failure)
            attach_read, self._attach_write = _pipe(on_failure)
            self._start_read, self._start_write = _pipe(on_failure)
            on_failure.pop_all()
        self._sync = conmon.LineReader(sync_read)
        self._attach = conmon.LineReader(attach_read)
        self._children = [self._sync_write, self._attach_write, self._start_read]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._sync.close()
        self._attach.close()
        os.close(self._start_write)
        self._close_children()

    async def prepare(self, spawner: Spawner, arguments: list[str]) -> None:
        """Start conmon; when this returns its attach socket is there, and the process is not begun.

        Raises:
            errors.Internal: conmon failed.
        """
        try:
            errors_fd = os.open(self._directory / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise _container_gone() from None
        try:
            process = await spawner.start(
                arguments,
                cwd=self._directory,
                env=conmon.environment(
                    {
                        "_OCI_SYNCPIPE": str(self._sync_write),
                        "_OCI_ATTACHPIPE": str(self._attach_write),
                        "_OCI_STARTPIPE": str(self._start_read),
                    }
                ),
                pass_fds=tuple(self._children),
                stderr=errors_fd,
            )
        finally:
            os.close(errors_fd)
            self._close_children()
        try:
            self._let_go_on()
            async with _deadline("conmon did not get ready"):
                line = await self._attach.line()
                await wait(process)
        except BaseException:
            leave(process)
            raise
        if not line:
            raise self._failed()

    async def begin(self) -> int:
        """Let the process begin; return its pid.

        Raises:
            CreateFailed: The runtime could not execute it; the message is its own.
            errors.Internal: conmon failed.
        """
        self._let_go_on()
        async with _deadline("the process did not begin"):
            pid, message = self._parse(await self._sync.line())
        if pid <= 0:
            raise CreateFailed(message or "the runtime failed without a message")
        return pid

    async def ended(self) -> int:
        """Return the exit code when the process has ended."""
        return self._parse(await self._sync.line())[0]

    def _let_go_on(self) -> None:
        try:
            os.write(self._start_write, b"\0")
        except BrokenPipeError:
            raise self._failed() from None

    def _close_children(self) -> None:
        """Close the ends that are conmon's, so that its own closing is seen."""
        while self._children:
            os.close(self._children.pop())

    def _parse(self, line: bytes) -> tuple[int, str]:
        """Return the number and the message of a report."""
        try:
            report = json.loads(line)
            return int(report["data"]), str(report.get("message", "")).strip()
        except (ValueError, KeyError, TypeError):
            raise self._failed() from None

    def _failed(self) -> errors.BeeyardError:
        try:
            said = (self._directory / LOG_FILE).read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return _container_gone()
        return errors.Internal(f"conmon failed: {said or 'it ended without a word'}", reason="CONMON_FAILED")


def _pipe(opened: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    for fd in ends:
        opened.callback(os.close, fd)
    return ends


def _container_gone() -> errors.FailedPrecondition:
    return errors.FailedPrecondition("the container has just ended", reason="CONTAINER_NOT_RUNNING")


@contextlib.asynccontextmanager
async def _deadline(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            yield
    except TimeoutError:
        raise errors.Unavailable(f"{what} within {START_TIMEOUT_S:g} s", reason="RUNTIME_TIMEOUT") from None
