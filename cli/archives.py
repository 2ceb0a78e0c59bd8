"""Archives that a command reads or writes: a file, or a standard stream."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cli import terminal
from cli.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 256 << 10
NAME_CHARS_MAX = 50
"""Of the name of a file, in the name of what becomes it: names have 255 bytes."""


@contextlib.contextmanager
def opened_input(path: str, what: str) -> Iterator[BinaryIO]:
    """Open the archive: a file, or standard input unless that is a terminal."""
    if not path:
        if terminal.is_terminal(terminal.STDIN):
            raise invalid(f"requested {what} from stdin, but stdin is empty")
        yield sys.stdin.buffer
        return
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(path).open("rb"))
        except (OSError, ValueError) as exc:
            raise invalid(f"open {path}: {getattr(exc, 'strerror', None) or exc}") from None
        yield stream


@contextlib.contextmanager
def opened_output(path: str, what: str) -> Iterator[int]:
    """Open where the archive goes. A file appears when it is complete, and never in part.

    Args:
        path: The file; empty is standard output.
        what: Named in a failure: "save image".
    """
    if not path:
        yield terminal.STDOUT
        return
    final = Path(path)
    replaces = not final.exists() or final.is_file()  # a device or pipe is written to, not replaced
    flags = os.O_WRONLY | os.O_CLOEXEC
    written = final
    if replaces:  # beside it, under a name that nobody who may write there can foresee and put a link at
        written = final.with_name(f".{final.name[:NAME_CHARS_MAX]}.{secrets.token_hex(8)}.partial")
        flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(written, flags, 0o600)
    except (OSError, ValueError) as exc:
        raise invalid(f"failed to {what}: {path}: {getattr(exc, 'strerror', None) or exc}") from None
    try:
        yield descriptor
        if replaces:
            os.fsync(descriptor)
            written.rename(final)
    except OSError as exc:
        raise invalid(f"failed to {what}: {path}: {exc.strerror or exc}") from exc
    finally:
        os.close(descriptor)
        if replaces:
            written.unlink(missing_ok=True)
