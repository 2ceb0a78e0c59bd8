"""Signals as something to wait for, instead of something that interrupts."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What ends a program that does nothing about it, and is sent by people."""
_NOT_FORWARDED = {
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGURG,
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGPROF,
    signal.SIGSYS,
    signal.SIGTRAP,
    signal.SIGABRT,
}
FORWARDED = tuple(
    signal.Signals(number)
    for number in range(1, signal.SIGSYS + 1)
    if number in set(signal.Signals) and number not in _NOT_FORWARDED
)
"""What a foreground container gets in our place: not what is about this process itself or its job control."""
_PENDING_MAX = 256


class Signals:
    """While the block runs, these signals are only noted: `take` returns them when `fileno` is readable."""

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        self._wanted = tuple(dict.fromkeys(wanted))

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._saved_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._saved = {number: signal.signal(number, _note) for number in self._wanted}
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._saved_fd)
        for number, handler in self._saved.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._reader

    def take(self) -> list[signal.Signals]:
        """Return the signals that came, in order."""
        with contextlib.suppress(BlockingIOError):
            return [signal.Signals(number) for number in os.read(self._reader, _PENDING_MAX)]
        return []


def _note(_number: int, _frame: object) -> None:
    """Do nothing: the number is written to the pipe."""
