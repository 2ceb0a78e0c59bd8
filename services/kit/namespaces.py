"""Kernel namespaces that a thread of ours cannot make: a process of several threads may not change its user namespace.

A small program is started in them instead, and lives as long as a block does; meanwhile its namespaces can be taken
from /proc.
"""

from __future__ import annotations

import contextlib
import select
import shutil
import subprocess
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START_TIMEOUT_S = 20.0
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ERROR_BYTES_MAX = 4096


@contextlib.contextmanager
def process_with_user() -> Iterator[int]:
    """Yield the pid of a process in a user namespace of its own that maps no ids yet.

    Raises:
        errors.FailedPrecondition: The kernel allows none, or the tool is missing (NAMESPACE_FAILED).
    """
    with _held(["unshare", "--user", "cat"]) as pid:
        yield pid


@contextlib.contextmanager
def process_with_network(user_namespace: Path) -> Iterator[int]:
    """Yield the pid of a process in a network namespace of its own, which belongs to a user namespace with ids.

    Raises:
        errors.FailedPrecondition: The file holds no user namespace, or a tool is missing (NAMESPACE_FAILED).
    """
    with _held(["nsenter", f"--user={user_namespace}", "unshare", "--net", "cat"]) as pid:
        yield pid


@contextlib.contextmanager
def _held(command: Sequence[str]) -> Iterator[int]:
    program = shutil.which(command[0], path=_SEARCH)
    if program is None:
        raise _failed(f"{command[0]} is not installed: install util-linux")
    with (
        subprocess.Popen(  # noqa: TID251 (its pid is wanted while it runs)
            [program, *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": _SEARCH, "LC_ALL": "C"},
        ) as process
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            # An echo shows that the last program of the chain runs, and with it that the namespaces are made.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"\n")
                process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
            if not ready:
                raise _failed(f"{command[0]} did not answer within {START_TIMEOUT_S:g} s")
            if not process.stdout.read(1):
                said = process.stderr.read(_ERROR_BYTES_MAX).decode(errors="replace").strip()
                raise _failed(said or f"{command[0]} ended without a word")
            yield process.pid
        finally:
            process.kill()


def _failed(why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(f"cannot make a namespace: {why}", reason="NAMESPACE_FAILED")
