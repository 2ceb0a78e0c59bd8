"""A stream cut into what the reader of an archive asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from services.kit.tar.entry import invalid

NextChunk: TypeAlias = Callable[[], "bytes | memoryview"]
"""Returns the next part of a stream, of any size, and an empty one at its end. Blocks while there is nothing yet. The
part may be overwritten by the next call: this module never keeps one across calls."""


class Source:
    """Takes bytes from a stream: exact amounts for headers, views without a copy for data."""

    __slots__ = ("_chunk", "_next_chunk", "position")

    def __init__(self, next_chunk: NextChunk) -> None:
        self._next_chunk = next_chunk
        self._chunk = memoryview(b"")
        self.position = 0
        """Bytes taken so far."""

    def take(self, count: int) -> bytes:
        """Return exactly `count` bytes; at the end of the stream, nothing.

        Raises:
            errors.Invalid: The stream ends within them.
        """
        if len(self._chunk) >= count:
            data = bytes(self._chunk[:count])
            self._chunk = self._chunk[count:]
            self.position += count
            return data
        parts: list[bytes] = []
        missing = count
        while missing:
            view = self.view(missing)
            if not view:
                break
            parts.append(bytes(view))
            missing -= len(view)
        if parts and missing:
            raise invalid("it ends in the middle of an entry")
        return b"".join(parts)

    def view(self, count_max: int) -> memoryview:
        """Return the next bytes, at least one and at most `count_max`; an empty view is the end of the stream.

        The view is valid until the next call.
        """
        if not self._chunk:
            self._chunk = memoryview(self._next_chunk())
        view = self._chunk[:count_max]
        self._chunk = self._chunk[len(view) :]
        self.position += len(view)
        return view

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        while count:
            view = self.view(count)
            if not view:
                raise invalid("it ends in the middle of an entry")
            count -= len(view)

    def drain(self) -> int:
        """Read the stream to its end; return how many bytes were left."""
        count = 0
        while view := self.view(1 << 30):
            count += len(view)
        return count
