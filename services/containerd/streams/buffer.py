"""What waits for one client: chunks of two streams in order, with a count of bytes. Pure."""

from __future__ import annotations

import collections
from enum import IntEnum

JOIN_BYTES_MAX = 64 << 10
"""How much of one stream is handed over at once."""


class Channel(IntEnum):
    """The first byte of conmon's packets."""

    STDOUT = 2
    STDERR = 3


class ChunkBuffer:
    """A queue of output."""

    def __init__(self) -> None:
        self._chunks: collections.deque[tuple[Channel, bytes]] = collections.deque()
        self.size_bytes = 0

    def put(self, channel: Channel, data: bytes) -> None:
        """Add a chunk."""
        self._chunks.append((channel, data))
        self.size_bytes += len(data)

    def take(self) -> tuple[Channel, bytes] | None:
        """Take what came first, joined with what follows on the same stream; None if nothing waits."""
        if not self._chunks:
            return None
        channel, first = self._chunks.popleft()
        joined = [first]
        length = len(first)
        while self._chunks and self._chunks[0][0] is channel:
            following = self._chunks[0][1]
            if length + len(following) > JOIN_BYTES_MAX:
                break
            self._chunks.popleft()
            joined.append(following)
            length += len(following)
        self.size_bytes -= length
        return channel, joined[0] if len(joined) == 1 else b"".join(joined)

    def clear(self) -> None:
        """Drop everything."""
        self._chunks.clear()
        self.size_bytes = 0
