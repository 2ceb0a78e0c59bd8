"""Lines on a terminal that are drawn over themselves: the one place that knows the escape sequences."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS_MIN = 20
ROWS_MIN = 4


class Redraw:
    """A block of lines at the end of a terminal's output.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines in place of those drawn before."""
        columns = self.columns()
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        body = "".join(f"\x1b[2K{line[:columns]}\n" for line in lines)
        clear = "\x1b[J" if self._drawn > len(lines) else ""
        self._stream.write(f"{up}{body}{clear}")
        self._stream.flush()
        self._drawn = len(lines)

    def wrap(self, lines: Sequence[str]) -> list[str]:
        """Break lines that are too long, for those of whom nothing may be cut."""
        columns = self.columns()
        return [
            line[start : start + columns] for line in lines for start in range(0, max(len(line), 1), columns)
        ]

    def clear_screen(self) -> None:
        """Begin at the top of an empty screen."""
        self._stream.write("\x1b[2J\x1b[H")
        self._drawn = 0

    def columns(self) -> int:
        """Return the room for a line that must not wrap."""
        return max(COLUMNS_MIN, self._size().columns - 1)

    def rows(self) -> int:
        """Return the room for lines that must stay visible."""
        return max(ROWS_MIN, self._size().lines - 2)

    def _size(self) -> os.terminal_size:
        try:
            return os.get_terminal_size(self._stream.fileno())
        except OSError:
            return os.terminal_size((80, 24))
