"""Reading a log across its rotated files, and following it.

Reading blocks on the disk, so it runs in worker threads, a batch at a time; between batches nothing is held but open
files. These outlive a rotation: conmon writes into the renamed file until it has reopened, and what is written there is
read before the next file is begun. So no line is lost, unless the reader lags by a lot, and none comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.logs import files, held
from services.containerd.logs.format import Joiner, Line, Parts, Stream, parse
from services.containerd.logs.held import Held

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.kit.seams import Clock

POLL_S = 0.1
BATCH_BYTES_MAX = 256 << 10
_ALL_STREAMS = frozenset(Stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which lines."""

    streams: frozenset[Stream] = _ALL_STREAMS
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = None

    def takes(self, line: Line) -> bool:
        """Return whether the line is one of them (the tail is not looked at)."""
        return (
            line.stream in self.streams
            and (self.since_ns is None or line.time_ns >= self.since_ns)
            and (self.until_ns is None or line.time_ns <= self.until_ns)
        )


class Reader:
    """Reads one log from its start, or from its tail.

    Args:
        path: The file that is being written.
        selection: Which lines.
        joined: Put the parts of a line together; else each comes as it was written.
    """

    def __init__(self, path: Path, selection: Selection, *, joined: bool = True) -> None:
        self._path = path
        self._selection = selection
        self._joiner = Joiner() if joined else Parts()
        self._held = Held(path)
        self._rest = b""
        self._lost_bytes = 0

    def lost_bytes(self) -> int:
        """Return how much of the log was lost before the batch that came last, since this was asked before.

        A reader that lags holds what rotation removes, within bounds (`held`); what is beyond is lost.
        """
        lost, self._lost_bytes = self._lost_bytes, 0
        return lost

    async def read(
        self, *, follow: bool, ended: Callable[[], bool], clock: Clock
    ) -> AsyncIterator[list[Line]]:
        """Yield batches of lines; an empty one where nothing but a loss is to be told.

        Without `follow` it ends at the newest line; with it when `ended` says that no more will be written, or a line
        is past the selection's end.
        """
        try:
            await asyncio.to_thread(self._open_first)
            while True:
                over = not follow or ended()  # asked before reading: what was written until then is read
                lines, more = await asyncio.to_thread(self._read_batch)
                if lines or self._lost_bytes:
                    yield lines
                if more:
                    continue
                if over or self._past_end(clock):
                    break
                if begun := self._taken(self._joiner.flush()):
                    yield begun
                await clock.sleep(POLL_S)
            if rest := self._taken(self._last()):
                yield rest
        finally:
            self._held.close()

    def _open_first(self) -> None:
        wanted = self._selection.tail
        with held.changing, contextlib.ExitStack() as stack:
            opened = self._held.open(files.existing(self._path))
            if wanted is None:
                return
            looked_at = [  # by itself: what is held may be given up while we look
                stack.enter_context(Path(f"/proc/self/fd/{file.fileno()}").open("rb")) for file in opened
            ]
            looking = stack.pop_all()
        with looking:
            for file, look in zip(reversed(opened), reversed(looked_at), strict=True):
                offset, found = files.tail_offset(look, wanted)
                if found >= wanted:
                    self._held.begin_at(file, offset)
                    return
                wanted -= found

    def _read_batch(self) -> tuple[list[Line], bool]:
        """Return the next lines and whether there may be more at once."""
        piece = self._held.read(BATCH_BYTES_MAX)
        lines: list[Line] = []
        if piece.lost_bytes:
            self._lost_bytes += piece.lost_bytes
            self._rest = b""
            lines += self._joiner.flush()
        torn = b"\n" if self._rest and piece.begins else b""  # a file ends in what a crash has left
        *whole, self._rest = (self._rest + torn + piece.data).split(b"\n")
        for raw in whole:
            entry = parse(raw)
            line = self._joiner.add(entry) if entry is not None else None
            if line is not None:
                lines.append(line)
        return self._taken(lines), bool(piece.data)

    def _last(self) -> list[Line]:
        """Return what was begun and is not ended: a part of a line, or an entry that a crash has torn."""
        torn = parse(self._rest)
        lines = [self._joiner.add(replace(torn, partial=True))] if torn is not None else []
        return [line for line in lines if line is not None] + self._joiner.flush()

    def _taken(self, lines: list[Line]) -> list[Line]:
        return [line for line in lines if self._selection.takes(line)]

    def _past_end(self, clock: Clock) -> bool:
        until_ns = self._selection.until_ns
        return until_ns is not None and clock.now().timestamp() * 1e9 > until_ns
