"""conmon: one small process per container, which holds its streams, writes its log and leaves its exit code.

It is started detached, runs `RUNTIME create` and reports through a pipe (`_OCI_SYNCPIPE`) one JSON line: the pid of the
init, or -1 and the runtime's message. From then on it needs nobody.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.runtime import oci_cli
from services.containerd.runtime.spawn import wait
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.containerd.runtime.flavour import Flavour
    from services.containerd.runtime.layout import Bundle, Layout
    from services.containerd.runtime.spawn import Spawner

CREATE_TIMEOUT_S = 60.0
"""A machine under heavy load takes long to make namespaces; a runtime that hangs must not hold a start for ever. Much
less than the two minutes that clients wait, so that they are told the reason."""
RESTORE_TIMEOUT_S = 110.0
"""The memory of the processes is read; a little less than clients wait."""
_LINE_BYTES_MAX = 256 << 10
_ENVIRONMENT_KEPT = ("PATH", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET")


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """How the container's standard streams are held."""

    tty: bool = False
    stdin: bool = False
    leave_stdin_open: bool = False
    """Stdin outlives its clients. Without it any client's leaving is the end of stdin, which `run -i` wants."""
    log_driver: str = "k8s-file"


class CreateFailed(errors.Internal):
    """The runtime could not create the container; the message is its own."""

    default_reason = "RUNTIME_FAILED"


def argv(
    conmon: str,
    flavour: Flavour,
    layout: Layout,
    container_id: str,
    *,
    name: str,
    streams: Streams,
    checkpoint: str = "",
) -> list[str]:
    """Return the command line that creates a container, or restores it from a checkpoint. Pure."""
    bundle = layout.bundle(container_id)
    log = {"k8s-file": f"k8s-file:{layout.log(container_id)}"}.get(streams.log_driver, streams.log_driver)
    arguments = [
        conmon,
        "--api-version", "1",
        "-c", container_id,
        "-u", container_id,
        "-n", name,
        "-r", flavour.path,
        "-b", str(bundle.path),
        "-p", str(bundle.pidfile),
        "-P", str(bundle.conmon_pidfile),
        "--exit-dir", str(layout.exits),
        "--persist-dir", str(bundle.persist),
        "-l", log,
        "--full-attach",
        "--log-level", "error",
        "--no-sync-log",
        f"--runtime-arg=--root={layout.runtime_root}",
    ]  # fmt: skip
    if streams.stdin:
        arguments.append("-i")
    if streams.tty:
        arguments.append("-t")
    if streams.leave_stdin_open:
        arguments.append("--leave-stdin-open")
    if checkpoint:
        arguments += ["--restore", checkpoint]
        for option in oci_cli.criu_options(tty=streams.tty):
            arguments += ["--runtime-opt", option]
    return arguments


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return conmon's environment: little of ours, and UTC so that every log line has a prefix of one width."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ}
    kept.pop("NOTIFY_SOCKET", None)  # a container must not speak for the daemon
    return {**kept, "TZ": "UTC", **(extra or {})}


async def create(spawner: Spawner, arguments: Sequence[str], bundle: Bundle, *, timeout_s: float) -> int:
    """Run conmon until the container is created; return the pid of its init, which waits for the start.

    Raises:
        CreateFailed: The runtime refused; nothing of the container is left by it.
        errors.Internal: conmon itself failed.
        errors.Unavailable: It took too long; the caller takes down what there is.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    reader = LineReader(read_fd)
    try:
        try:
            errors_fd = os.open(
                bundle.conmon_errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
            )
            try:
                process = await spawner.start(
                    arguments,
                    cwd=bundle.persist,
                    env=environment({"_OCI_SYNCPIPE": str(write_fd)}),
                    pass_fds=(write_fd,),
                    stderr=errors_fd,
                )
            finally:
                os.close(errors_fd)
        finally:
            os.close(write_fd)
        try:
            async with asyncio.timeout(timeout_s):
                line = await reader.line()
        except TimeoutError:
            raise errors.Unavailable(
                f"the runtime did not create the container within {timeout_s:g} s",
                reason="RUNTIME_TIMEOUT",
            ) from None
        finally:
            await wait(process)  # the first process of the double fork, gone already
    finally:
        reader.close()
    return _parse(line, bundle)


def read_pid(path: Path) -> int | None:
    """Return the pid in a pid file, None if it is not there (yet)."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None


def read_exit(path: Path) -> int | None:
    """Return the exit code in an exit file, None if there is none."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return int(text) if text.lstrip("-").isdecimal() else None


def container_of(arguments: Sequence[str], exits: Path) -> str | None:
    """Return the id of the container that a command line supervises, if it is a conmon of this daemon."""
    if not arguments or Path(arguments[0]).name != "conmon" or str(exits) not in arguments:
        return None
    try:
        return arguments[arguments.index("-c") + 1]
    except (ValueError, IndexError):
        return None


def _parse(line: bytes, bundle: Bundle) -> int:
    if not line:
        said = bundle.conmon_errors.read_text(encoding="utf-8", errors="replace").strip()
        raise errors.Internal(f"conmon failed: {said or 'it ended without a word'}", reason="CONMON_FAILED")
    try:
        report = json.loads(line)
        pid = int(report["data"])
    except (ValueError, KeyError, TypeError) as exc:
        raise errors.Internal(
            f"conmon reported what does not parse: {line[:200]!r}", reason="CONMON_FAILED"
        ) from exc
    if pid <= 0:
        raise CreateFailed(str(report.get("message", "")).strip() or "the runtime failed without a message")
    return pid


class LineReader:
    """Reads lines from a pipe. Owns the descriptor."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._buffer = bytearray()

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._fd)

    async def line(self) -> bytes:
        """Return the next line, or what there is before the end."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def readable() -> None:
            try:
                chunk = os.read(self._fd, 64 << 10)
            except BlockingIOError:
                return
            self._buffer.extend(chunk)
            if (not chunk or b"\n" in chunk or len(self._buffer) > _LINE_BYTES_MAX) and not done.done():
                done.set_result(None)

        if b"\n" not in self._buffer:
            loop.add_reader(self._fd, readable)
            try:
                await done
            finally:
                loop.remove_reader(self._fd)
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line
