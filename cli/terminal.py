"""The caller's terminal: its size, and raw mode that is always given back."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN, STDOUT, STDERR = 0, 1, 2


def is_terminal(fd: int) -> bool:
    """Whether this descriptor is a terminal; a closed one is none."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def size(fd: int = STDOUT) -> pb.TerminalSize | None:
    """Return the size of the terminal, None if it is none."""
    try:
        found = os.get_terminal_size(fd)
    except OSError:
        return None
    return pb.TerminalSize(rows=found.lines, columns=found.columns)


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Let every key through as it is typed, until the block ends. What was typed already is kept."""
    import termios
    import tty

    saved = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def write(fd: int, data: bytes) -> None:
    """Write all of it, also to a descriptor that somebody else made non-blocking."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            import select

            ready = select.poll()
            ready.register(fd, select.POLLOUT)
            ready.poll()
