"""Reading the log of a container with the journald driver, by journalctl.

conmon sends each line to the journal with the container's full id and, as the priority, the stream. An unprivileged
process can send entries with any id, so only those of root count. Lines are counted for a tail in a first pass, from
the newest back, which keeps nothing but a cursor; the second pass begins there. A follower goes on with one journalctl
that waits, and takes what is left in a last pass when the container has ended: the journal is written a moment later.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.logs.format import Entry, Joiner, Line, Stream
from services.containerd.logs.journal_export import ExportParser
from services.kit import errors, piping, subproc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from services.containerd.logs.reader import Selection
    from services.kit.seams import Clock

PROGRAM = "journalctl"
DIRECTORIES = (Path("/run/log/journal"), Path("/var/log/journal"))
POLL_S = 0.25
"""How often a follower looks whether the container has ended."""
SYNC_TIMEOUT_S = 10.0
_FIELDS = ("MESSAGE", "PRIORITY", "CONTAINER_PARTIAL_MESSAGE")
_ERROR = b"3"
"""The priority of what comes from standard error."""


def argv(
    container_id: str, *options: str, fields: Sequence[str] = _FIELDS, cursor: str = "", after: bool = False
) -> list[str]:
    """Return the command that exports the entries of a container, all or from a cursor on (or after it). Pure."""
    begin = [f"--{'after-' if after else ''}cursor={cursor}"] if cursor else []
    return [
        PROGRAM, "--no-pager", "--quiet", "--output=export", f"--output-fields={','.join(fields)}", *begin, *options,
        f"CONTAINER_ID_FULL={container_id}", "_UID=0",
    ]  # fmt: skip


def entry(fields: Mapping[str, bytes]) -> Entry:
    """Return what conmon wrote. Pure."""
    return Entry(
        time_ns=int(fields["__REALTIME_TIMESTAMP"]) * 1000,
        stream=Stream.STDERR if fields.get("PRIORITY") == _ERROR else Stream.STDOUT,
        partial="CONTAINER_PARTIAL_MESSAGE" in fields,
        data=fields.get("MESSAGE", b"").removesuffix(b"\n"),
    )


def check(name: str) -> None:
    """Refuse where the journal cannot be read.

    Raises:
        errors.FailedPrecondition: JOURNAL_UNREADABLE; the message says what is missing.
    """
    missing = ""
    if shutil.which(PROGRAM) is None:
        missing = f"the program {PROGRAM}, which reads it, is not installed"
    elif not any(any(directory.glob("*/*.journal")) for directory in DIRECTORIES):
        missing = f"there is no journal in {' or '.join(map(str, DIRECTORIES))}"
    if missing:
        raise errors.FailedPrecondition(
            f"container {name}: its log is in the journal of this host, and {missing}",
            reason="JOURNAL_UNREADABLE",
        )


class JournalReader:
    """Reads one log from its start, or from its tail.

    Args:
        container_id: Whose; its full id.
        selection: Which lines.
    """

    def __init__(self, container_id: str, selection: Selection) -> None:
        self._id = container_id
        self._selection = selection
        self._joiner = Joiner()
        self._cursor = ""
        """Of the last entry that was read."""

    async def read(
        self, *, follow: bool, ended: Callable[[], bool], clock: Clock
    ) -> AsyncIterator[list[Line]]:
        """Yield batches of lines.

        Without `follow` it ends at the newest line; with it when `ended` says that no more will be written, or a line
        is past the selection's end.

        Raises:
            errors.Internal: journalctl fails, in its own words.
        """
        await _sync()
        cursor, after = await self._begin()
        if follow:
            waiting = self._argv("--follow", "--no-tail", cursor=cursor, after=after)
            ends = functools.partial(self._ends, ended, clock)
            async with contextlib.aclosing(self._lines(waiting, ends)) as batches:
                async for lines in batches:
                    yield lines
            await _sync()
            cursor, after = (self._cursor, True) if self._cursor else (cursor, after)
        async with contextlib.aclosing(self._lines(self._argv(cursor=cursor, after=after))) as batches:
            async for lines in batches:
                yield lines
        if unfinished := self._taken(self._joiner.flush()):
            yield unfinished

    def _argv(self, *options: str, cursor: str, after: bool) -> list[str]:
        since_ns = self._selection.since_ns
        if since_ns is not None and not cursor:  # journalctl takes one of the two
            options = (*options, f"--since=@{max(since_ns, 0) // 10**9}")
        return argv(self._id, *options, cursor=cursor, after=after)

    async def _lines(
        self, command: Sequence[str], over: Callable[[], bool] | None = None
    ) -> AsyncGenerator[list[Line], None]:
        """Yield the lines that a journalctl exports until its end, or until `over`."""
        parser = ExportParser()
        async with piping.piped(command, env=_environment()) as output:
            while True:
                last = over is not None and over()
                try:
                    async with asyncio.timeout(None if over is None else POLL_S):
                        data = await output.read()
                except TimeoutError:
                    lines = self._taken(self._joiner.flush())  # a prompt that waits for an answer
                else:
                    if not data:
                        return
                    lines = self._add(parser.feed(data))
                if lines:
                    yield lines
                if last:
                    return

    def _add(self, found: Sequence[Mapping[str, bytes]]) -> list[Line]:
        lines = []
        for fields in found:
            self._cursor = fields["__CURSOR"].decode()
            lines.append(self._joiner.add(entry(fields)))
        return self._taken([line for line in lines if line is not None])

    def _taken(self, lines: Sequence[Line]) -> list[Line]:
        return [line for line in lines if self._selection.takes(line)]

    def _ends(self, ended: Callable[[], bool], clock: Clock) -> bool:
        until_ns = self._selection.until_ns
        return ended() or (until_ns is not None and clock.now().timestamp() * 1e9 > until_ns)

    async def _begin(self) -> tuple[str, bool]:
        """Return the cursor at which to begin, and whether behind it; empty is the start of the log."""
        wanted = self._selection.tail
        if wanted is None:
            return "", False
        fields = ("CONTAINER_PARTIAL_MESSAGE",)
        found, begin = 0, ""
        async with piping.piped(argv(self._id, "--reverse", fields=fields), env=_environment()) as output:
            parser = ExportParser()
            while data := await output.read():
                for each in parser.feed(data):
                    cursor = each["__CURSOR"].decode()
                    if "CONTAINER_PARTIAL_MESSAGE" not in each or not found:
                        if found == wanted:
                            return (begin, False) if begin else (cursor, True)
                        found += 1
                    begin = cursor
        return "", False


async def _sync() -> None:
    """Have the journal written down as far as it has come; one that cannot is read as it is."""
    with contextlib.suppress(errors.BeeyardError):
        await subproc.run([PROGRAM, "--sync"], timeout_s=SYNC_TIMEOUT_S, env=_environment())


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
