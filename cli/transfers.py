"""What is shown of a pull or load: a bar for each blob on a terminal, a line for each step when piped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from cli import clock
from cli.redraw import Redraw
from services.kit import units

if TYPE_CHECKING:
    from beeyard.image.v1 import image_pb2 as pb

DRAW_S = 0.1
BAR_WIDTH = 25
ID_WIDTH = 12


def label(name: str) -> str:
    """Shorten a blob's digest; names of steps stay."""
    algorithm, separator, digits = name.partition(":")
    return digits[:ID_WIDTH] if separator and algorithm.isalnum() and len(digits) >= 32 else name


def bar(done: int, total: int) -> str:
    """Draw how far it is: "[====>    ]  3.1MB/9MB"."""
    if not total:
        return units.render_bytes(done) if done else ""
    filled = min(BAR_WIDTH, BAR_WIDTH * done // total)
    drawn = "=" * filled + (">" if filled < BAR_WIDTH else "")
    return f"[{drawn:<{BAR_WIDTH}}]  {units.render_bytes(min(done, total))}/{units.render_bytes(total)}"


def line(progress: pb.Progress) -> str:
    """Describe one blob: with a bar while something is done to it ("downloading"), without one after ("complete")."""
    shown = f"{label(progress.id)}: {progress.phase.capitalize()}"
    if not progress.phase.endswith("ing"):
        return shown
    if drawn := bar(progress.done_bytes, progress.total_bytes):
        shown = f"{shown:<28} {drawn}"
    return f"{shown}  from {progress.source}" if progress.source else shown


class Transfers:
    """Shows progress on a stream.

    Args:
        stream: Where to; standard error if not given.
        quiet: Show nothing.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._redraw = Redraw(self._stream) if self._stream.isatty() and not quiet else None
        self._blobs: dict[str, pb.Progress] = {}
        self._drawn_at = -DRAW_S

    def update(self, progress: pb.Progress) -> None:
        """Take a step."""
        before = self._blobs.get(progress.id)
        self._blobs[progress.id] = progress
        if self._redraw is not None:
            if clock.monotonic() - self._drawn_at >= DRAW_S:
                self._draw(self._redraw)
        elif not self._quiet and (before is None or before.phase != progress.phase):
            print(f"{label(progress.id)}: {progress.phase.capitalize()}", file=self._stream, flush=True)

    def finish(self) -> None:
        """Show the last state."""
        if self._redraw is not None and self._blobs:
            self._draw(self._redraw)

    def _draw(self, redraw: Redraw) -> None:
        self._drawn_at = clock.monotonic()
        lines = [line(progress) for progress in self._blobs.values()]
        room = redraw.rows()
        if len(lines) > room:
            lines = [*lines[-room + 1 :], f"… and {len(lines) - room + 1} more"]
        redraw.draw(lines)
