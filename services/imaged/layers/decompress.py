"""Streams of compressed layers and archives, decompressed in bounded steps.

isal does gzip at about twice zlib's speed. What an archive's media type says is not trusted: the first bytes decide.
"""

from __future__ import annotations

import bz2
import lzma
from typing import IO, TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

import zstandard
from isal import igzip_lib

from services.imaged.model import mediatype
from services.kit.tar.entry import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Compression: TypeAlias = Literal["none", "gzip", "zstd", "bzip2", "xz"]

CHUNK_BYTES = 1 << 20
_ZSTD_WINDOW_BYTES_MAX = 1 << 27
_XZ_MEMORY_BYTES_MAX = 128 << 20
_MORE_MAGIC: tuple[tuple[bytes, Compression], ...] = ((b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))
MAGIC_BYTES = 6


class _Decompressor(Protocol):
    """The interface that `bz2`, `lzma` and isal share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def detect(head: bytes) -> Compression:
    """Return the compression that the first `MAGIC_BYTES` of a stream show."""
    found = next((compression for magic, compression in _MORE_MAGIC if head.startswith(magic)), None)
    return found or mediatype.detect_compression(head)


def peek(chunks: Iterable[bytes]) -> tuple[Compression, Iterator[bytes]]:
    """Return the compression of a stream and the stream, whole."""
    iterator = iter(chunks)
    head = b""
    while len(head) < MAGIC_BYTES and (chunk := next(iterator, None)) is not None:
        head += chunk

    def whole() -> Iterator[bytes]:
        if head:
            yield head
        yield from iterator

    return detect(head), whole()


def decompress(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """Yield the content of a stream in parts of at most `CHUNK_BYTES`.

    Raises:
        errors.Invalid: With reason ARCHIVE_INVALID: it is damaged or ends early.
    """
    match compression:
        case "none":
            yield from chunks
        case "zstd":
            yield from _zstd(chunks)
        case "gzip" | "bzip2" | "xz":
            yield from _members(chunks, compression)


def _members(chunks: Iterable[bytes], compression: Literal["gzip", "bzip2", "xz"]) -> Iterator[bytes]:
    """Decompress a row of members, as these formats allow; zeros after the last one are padding."""
    decompressor = _new(compression)
    fresh = True
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if fresh:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                fresh = False
                while True:
                    part = decompressor.decompress(data, CHUNK_BYTES)
                    data = b""
                    if part:
                        yield part
                    if decompressor.eof or (decompressor.needs_input and not part):
                        break
                if decompressor.eof:
                    data = decompressor.unused_data
                    decompressor, fresh = _new(compression), True
    except (OSError, EOFError, lzma.LZMAError, ValueError, igzip_lib.error) as error:  # type: ignore[misc]
        raise invalid(f"its {compression} stream is damaged: {error}") from error
    if not fresh:
        raise invalid(f"its {compression} stream ends early")


def _new(compression: Literal["gzip", "bzip2", "xz"]) -> _Decompressor:
    match compression:
        case "gzip":
            return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        case "bzip2":
            return bz2.BZ2Decompressor()
        case "xz":
            return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES_MAX)


def _zstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    reader = cast("IO[bytes]", _Reader(chunks))  # only `read` is used
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
        with decompressor.stream_reader(reader, read_across_frames=True) as stream:
            while part := stream.read(CHUNK_BYTES):
                yield part
    except zstandard.ZstdError as error:
        raise invalid(f"its zstd stream is damaged: {error}") from error


class _Reader:
    """A stream of chunks as the file that zstandard reads from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def read(self, count: int) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        part, self._rest = self._rest[:count], self._rest[count:]
        return bytes(part)
