"""What `secret` and `config` share: content from a file or a pipe, and the pages of their lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import invalid

if TYPE_CHECKING:
    from typing import BinaryIO

READ_TIMEOUT_S = 15.0
WRITE_TIMEOUT_S = 30.0


def read_content(source: str, noun: str, bytes_max: int) -> bytes:
    """Read the content: a file, or standard input for "-".

    Raises:
        errors.Invalid: It cannot be read, is empty, or too large.
    """
    shown = "STDIN" if source == "-" else source
    try:
        if source == "-":
            data = _limited(sys.stdin.buffer, bytes_max)
        else:
            with Path(source).open("rb") as stream:
                data = _limited(stream, bytes_max)
    except (OSError, ValueError) as exc:
        raise invalid(f"error reading from {shown}: {getattr(exc, 'strerror', None) or exc}") from None
    if not data:
        raise invalid(f"error reading from {shown}: data is empty")
    if len(data) > bytes_max:
        raise invalid(f"{noun} data from {shown} is larger than {bytes_max} bytes")
    return data


def _limited(stream: BinaryIO, bytes_max: int) -> bytes:
    """Read at most one byte more than is allowed: enough to tell that it is too much."""
    return stream.read(bytes_max + 1)
