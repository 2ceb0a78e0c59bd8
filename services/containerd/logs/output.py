"""A run's output as it was written, out of its log: for a user whose streams were cut off when the daemon died.

conmon writes down every byte before it sends it, ends lines with their newline and marks what has none; so the log of
a run gives its streams back byte for byte, as long as rotation has not dropped its beginning.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.containerd.logs import files
from services.containerd.logs.format import Stream, parse
from services.containerd.logs.reader import Reader, Selection
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from services.kit.seams import Clock

_LINE_BYTES_MAX = 64 << 10


async def has_all_since(path: Path, mark_ns: int, files_max: int) -> bool:
    """Return whether a log surely has everything that was written since a moment."""
    return await asyncio.to_thread(_has_all_since, path, mark_ns, files_max)


def _has_all_since(path: Path, mark_ns: int, files_max: int) -> bool:
    existing = files.existing(path)
    if not existing:
        return False  # it goes with its container: `--rm`
    if files_max > 1 and not files.rotated(path, files_max - 1).exists():
        return True  # none was dropped yet
    with existing[0].open("rb") as file:
        entry = parse(file.readline(_LINE_BYTES_MAX).rstrip(b"\n"))
    return entry is not None and entry.time_ns < mark_ns


async def since(
    path: Path, mark_ns: int, seen_bytes: Mapping[Stream, int], *, ended: Callable[[], bool], clock: Clock
) -> AsyncIterator[tuple[Stream, bytes]]:
    """Yield what was written since a moment and follow it until `ended`.

    Args:
        path: The log.
        mark_ns: The moment: before the run, and after those before it.
        seen_bytes: So much of each stream is left out; a stream that is not named is left out altogether.
        ended: Says that no more will be written.
        clock: Paces the following.

    Raises:
        errors.Exhausted: The user read too slowly, and rotation removed more than is held (ATTACH_TOO_SLOW).
    """
    selection = Selection(streams=frozenset(seen_bytes), since_ns=mark_ns)
    left_out = dict(seen_bytes)
    reader = Reader(path, selection, joined=False)
    async for parts in reader.read(follow=True, ended=ended, clock=clock):
        if reader.lost_bytes():
            raise errors.Exhausted(
                "the client read so slowly that the log was rotated away", reason="ATTACH_TOO_SLOW"
            )
        for part in parts:
            known = min(left_out[part.stream], len(part.data))
            left_out[part.stream] -= known
            if known < len(part.data):
                yield part.stream, part.data[known:]
