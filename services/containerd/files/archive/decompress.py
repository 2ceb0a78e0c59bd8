"""An archive that may be compressed, as Docker takes it: found out by its first bytes, expanded in bounded steps."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Protocol

from services.kit.tar.entry import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP_BYTES_MAX = 1 << 20
_MAGIC_BYTES = 6


class _Expander(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most so much; the rest on the next call, with no data."""

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed stream was seen."""


class _Gzip:
    """`zlib` with the manners of `bz2` and `lzma`."""

    def __init__(self) -> None:
        self._expander = zlib.decompressobj(31)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._expander.decompress(self._expander.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._expander.eof


def plain(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield what `read` returns until it returns nothing, expanded if it is gzip, bzip2 or xz.

    Raises:
        errors.Invalid: The compressed data is damaged.
    """
    head = b""
    while len(head) < _MAGIC_BYTES and (data := read()):
        head += data
    expander = _expander(head)
    if expander is None:
        while head:
            yield head
            head = read()
        return
    try:
        while head and not expander.eof:
            data = expander.decompress(head, STEP_BYTES_MAX)
            while data:
                yield data
                data = _more(expander)
            head = read()
    except (zlib.error, OSError, lzma.LZMAError, EOFError) as exc:
        raise invalid(f"its compression is damaged: {exc}") from exc
    if not expander.eof:
        raise invalid("it ends in the middle of its compressed data")
    while head:
        head = read()  # what follows is nobody's; the sender is not to be left writing


def _more(expander: _Expander) -> bytes:
    return b"" if expander.eof else expander.decompress(b"", STEP_BYTES_MAX)


def _expander(head: bytes) -> _Expander | None:
    if head.startswith(b"\x1f\x8b"):
        return _Gzip()
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor()
    return None
