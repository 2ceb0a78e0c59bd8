"""Run a program and take its output: an argument list, a deadline, and a limit on everything."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, cast

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OUTPUT_MAX = 1 << 20
STDERR_SHOWN_MAX = 2000
_PIPE_GRACE_S = 0.5
_STDIN, _STDOUT, _STDERR = 0, 1, 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a program left behind."""

    returncode: int
    """The exit code; -N after death by signal N."""
    stdout: bytes
    stderr: bytes
    """The last part of it, if there was more than the limit."""


class Failed(errors.Internal):
    """The program ran and ended with another code than 0."""

    default_reason = "PROGRAM_FAILED"

    def __init__(self, message: str, *, completed: Completed, program: str) -> None:
        super().__init__(message, metadata={"program": program, "returncode": str(completed.returncode)})
        self.completed = completed


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    input: bytes = b"",  # noqa: A002 (the name that subprocess.run gave it)
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    output_max: int = OUTPUT_MAX,
    check: bool = True,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run `argv` to its end and return what it wrote.

    The program gets a process group of its own, and the group is killed when the deadline passes, the output grows too
    large or the caller is cancelled; when this returns or raises, the program is reaped. A process that it left in the
    background on purpose lives on, and does not hold up the return by keeping the pipes open.

    Args:
        argv: The program, looked up in PATH, and its arguments. There is no shell.
        timeout_s: How long it may take.
        input: Its standard input.
        env: Its whole environment; None is ours.
        cwd: Its working directory.
        output_max: The most bytes of standard output; of standard error that many are kept, from the end.
        check: Whether an exit code other than 0 raises `Failed`.
        pass_fds: File descriptors that it inherits, under the same numbers.

    Raises:
        Failed: The exit code was not 0; the message ends in what it wrote to standard error.
        errors.Internal: It cannot be started (PROGRAM_MISSING, PROGRAM_NOT_STARTED).
        errors.Unavailable: The deadline passed (PROGRAM_TIMEOUT).
        errors.Exhausted: Too much output (OUTPUT_TOO_LARGE).
    """
    loop = asyncio.get_running_loop()
    program = os.fspath(argv[0])
    try:
        transport, protocol = await loop.subprocess_exec(
            lambda: _Collector(output_max),
            *argv,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            process_group=0,
        )
    except FileNotFoundError as exc:
        missing = (
            f"the directory {cwd}" if cwd is not None and not Path(cwd).is_dir() else f"the program {program}"
        )
        raise errors.Internal(
            f"cannot run {program}: {missing} does not exist", reason="PROGRAM_MISSING"
        ) from exc
    except OSError as exc:
        raise errors.Internal(f"cannot run {program}: {exc.strerror}", reason="PROGRAM_NOT_STARTED") from exc
    try:
        stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(_STDIN))
        if input:
            stdin.write(input)
        stdin.close()  # after what is buffered has been written
        async with asyncio.timeout(timeout_s):
            await protocol.finished()
    except TimeoutError as exc:
        raise errors.Unavailable(
            f"{program} did not end within {timeout_s:g} s{_tail(bytes(protocol.stderr))}",
            reason="PROGRAM_TIMEOUT",
            metadata={"program": program},
        ) from exc
    finally:
        await end(transport, protocol.exited)
    if protocol.overflowed:
        raise errors.Exhausted(
            f"{program} wrote more than {output_max} bytes",
            reason="OUTPUT_TOO_LARGE",
            metadata={"program": program},
        )
    completed = Completed(
        returncode=cast("int", transport.get_returncode()),
        stdout=bytes(protocol.stdout),
        stderr=bytes(protocol.stderr),
    )
    if check and completed.returncode != 0:
        raise Failed(
            failure(argv, completed.returncode, completed.stderr), completed=completed, program=program
        )
    return completed


class _Collector(asyncio.SubprocessProtocol):
    """Collects output until the process has exited and its pipes are closed."""

    def __init__(self, output_max: int) -> None:
        self._output_max = output_max
        self._open = {_STDOUT, _STDERR}
        self._closed = asyncio.Event()
        self._settled = asyncio.Event()  # nothing to wait for but what is in the pipes
        self.exited = asyncio.Event()
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.overflowed = False

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            self.stderr += data
            del self.stderr[: -self._output_max]
        elif len(self.stdout) + len(data) > self._output_max:
            self.overflowed = True
            self._closed.set()
            self._settled.set()
        else:
            self.stdout += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._open.discard(fd)
        if not self._open:
            self._closed.set()

    def process_exited(self) -> None:
        self.exited.set()
        self._settled.set()

    async def finished(self) -> None:
        """Wait for the end; a pipe that somebody holds open after the exit is given up after a moment."""
        await self._settled.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PIPE_GRACE_S):
                await self._closed.wait()


async def end(transport: asyncio.SubprocessTransport, exited: asyncio.Event) -> None:
    """Leave nothing behind: kill the group if the program still runs, wait until it is reaped, close the pipes."""
    try:
        while not exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
            await exited.wait()
    finally:
        transport.close()


def failure(argv: Sequence[str], returncode: int, stderr: bytes) -> str:
    """Describe a program's end with another code than 0."""
    return f"{_shown(argv)} {_ending(returncode)}{_tail(stderr)}"


def _shown(argv: Sequence[str]) -> str:
    text = shlex.join(map(os.fspath, argv))
    return text if len(text) <= 200 else text[:200] + "…"


def _ending(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"exited with code {returncode}"


def _tail(stderr: bytes) -> str:
    text = stderr.decode(errors="backslashreplace").strip()
    if not text:
        return ""
    return f": {text if len(text) <= STDERR_SHOWN_MAX else '…' + text[-STDERR_SHOWN_MAX:]}"
