"""Reading a log across its rotated files, and following it.

Reading blocks on the disk, so it runs in worker threads, a batch at a time; between batches nothing is held but the
open file. A follower keeps its file open over a rotation: conmon writes into the renamed file until it has reopened,
and what is written there is read before the next file is begun. So no line is lost and none comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from services.containerd.logs import files
from services.containerd.logs.format import Joiner, Line, Parts, Stream, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.kit.seams import Clock

POLL_S = 0.1
BATCH_BYTES_MAX = 256 << 10
_GRACE_POLLS = 2
"""How often a file that was renamed must be found without news before it counts as finished."""
_END_BYTES = 128
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
        self._file: BinaryIO | None = None
        self._rest = b""
        self._quiet_polls = 0
        self._grace_polls = 0

    async def read(
        self, *, follow: bool, ended: Callable[[], bool], clock: Clock
    ) -> AsyncIterator[list[Line]]:
        """Yield batches of lines.

        Without `follow` it ends at the newest line; with it when `ended` says that no more will be written, or a line
        is past the selection's end.
        """
        self._grace_polls = _GRACE_POLLS if follow else 0
        try:
            await asyncio.to_thread(self._open_first)
            while True:
                over = not follow or ended()  # asked before reading: what was written until then is read
                if over:
                    self._grace_polls = 0  # a file that was renamed is not written to any more
                lines, more = await asyncio.to_thread(self._read_batch)
                if lines:
                    yield lines
                if more:
                    continue
                if over or self._past_end(clock):
                    break
                if held := [line for line in self._joiner.flush() if self._selection.takes(line)]:
                    yield held
                await clock.sleep(POLL_S)
            if rest := [line for line in self._joiner.flush() if self._selection.takes(line)]:
                yield rest
        finally:
            self._close()

    def _open_first(self) -> None:
        existing = files.existing(self._path)
        if not existing:
            return
        wanted = self._selection.tail
        if wanted is None:
            self._file = existing[0].open("rb")
            return
        for position, path in enumerate(reversed(existing)):
            file = path.open("rb")
            offset, found = files.tail_offset(file, wanted)
            if found >= wanted or position == len(existing) - 1:
                file.seek(offset)
                self._file = file
                return
            wanted -= found
            file.close()

    def _read_batch(self) -> tuple[list[Line], bool]:
        """Return the next lines and whether there may be more at once."""
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):
                self._file = self._path.open("rb")
            if self._file is None:
                return [], False
        data = self._file.read(BATCH_BYTES_MAX)
        if not data:
            return [], self._next_file()
        self._quiet_polls = 0
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines: list[Line] = []
        for raw in whole:
            entry = parse(raw)
            line = self._joiner.add(entry) if entry is not None else None
            if line is not None and self._selection.takes(line):
                lines.append(line)
        return lines, True

    def _next_file(self) -> bool:
        """At the end of the file: go on with the next one, if this one was renamed and is finished."""
        assert self._file is not None, "no file is at its end"
        own = _identity(self._file)
        existing = files.existing(self._path)
        with contextlib.suppress(FileNotFoundError):
            if self._path.exists() and own == _stat_identity(self._path):
                return False
            self._quiet_polls += 1
            later = self._after(existing, own)
            if later is None or (later == self._path and self._quiet_polls < self._grace_polls):
                return False
            following = later.open("rb")
            self._file.close()
            self._file = following
            self._rest = b""
            self._quiet_polls = 0
            return True
        return False  # in the middle of a rotation

    def _after(self, existing: list[Path], own: tuple[int, int]) -> Path | None:
        for position, path in enumerate(existing):
            if _stat_identity(path) == own:
                return existing[position + 1] if position + 1 < len(existing) else None
        assert self._file is not None, "a file was read to its end"
        for position, path in enumerate(existing):  # ours may have been cut, which keeps its end
            if path != self._path and _end_of(path) == _end_of(self._file):
                return existing[position + 1] if position + 1 < len(existing) else None
        return existing[0] if existing else None  # ours was dropped: go on with the oldest that is left

    def _past_end(self, clock: Clock) -> bool:
        until_ns = self._selection.until_ns
        return until_ns is not None and clock.now().timestamp() * 1e9 > until_ns

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()


def _end_of(file: BinaryIO | Path) -> bytes:
    """Return the last bytes of a file: with the times in them no two files of a log end alike."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return _end_of(opened)
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), _END_BYTES, max(0, size - _END_BYTES))


def _identity(file: BinaryIO) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino


def _stat_identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
