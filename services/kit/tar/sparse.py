"""Maps of sparse files in GNU's formats: the old one (type S) and pax 0.0, 0.1 and 1.0.

A map is a list of segments, each an offset and a length; the archive holds the segments' data one after the other, and
what lies between them reads as zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit.tar import header, pax
from services.kit.tar.entry import Segment, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEGMENTS_MAX = 1 << 18
_OLD_FIRST_OFFSET = 386
_OLD_IN_HEADER = 4
_OLD_IN_EXTENSION = 21
_OLD_EXTENDED_FLAG = 482
_OLD_REAL_SIZE = slice(483, 495)
_OLD_NEXT_FLAG = 504
_NUMBER_DIGITS_MAX = 20


def read_old(block: bytes, take: Callable[[int], bytes]) -> tuple[list[Segment], int]:
    """Return the map and the real size in an old GNU header; `take` yields the extension blocks that follow it."""
    segments = _old_segments(block, _OLD_FIRST_OFFSET, _OLD_IN_HEADER)
    extended = block[_OLD_EXTENDED_FLAG]
    while extended:
        extension = take(header.BLOCK_BYTES)
        segments += _old_segments(extension, 0, _OLD_IN_EXTENSION)
        _check_count(len(segments))
        extended = extension[_OLD_NEXT_FLAG]
    return segments, header.number(block[_OLD_REAL_SIZE], "real size")


def read_records(records: pax.Records) -> list[Segment] | None:
    """Return the map that pax 0.0 and 0.1 keep in the records themselves, or None if there is none."""
    for key, value in records:
        if key == "GNU.sparse.map":
            numbers = [pax.integer(part, key) for part in value.split(b",")] if value else []
            return _pair(numbers)
    repeated = [
        pax.integer(value, key)
        for key, value in records
        if key in {"GNU.sparse.offset", "GNU.sparse.numbytes"}
    ]
    return _pair(repeated) if repeated else None


def read_prefix(take: Callable[[int], bytes]) -> tuple[list[Segment], int]:
    """Return the map that pax 1.0 puts in front of the data, and how many bytes of whole blocks it took.

    The map is decimal numbers, each ended by a newline: the count, then offset and length of each segment.
    """
    numbers: list[int] = []
    rest, taken, wanted = b"", 0, 1
    while len(numbers) < wanted:
        block = take(header.BLOCK_BYTES)
        taken += header.BLOCK_BYTES
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if len(numbers) == wanted:
                break
            if not line.isdigit() or len(line) > _NUMBER_DIGITS_MAX:
                raise invalid("a sparse map is malformed")
            numbers.append(int(line))
            if len(numbers) == 1:
                _check_count(numbers[0])
                wanted = 1 + 2 * numbers[0]
        if len(rest) > _NUMBER_DIGITS_MAX and len(numbers) < wanted:
            raise invalid("a sparse map is malformed")
    return _pair(numbers[1:]), taken


def check(segments: Sequence[Segment], real_size_bytes: int, data_bytes: int) -> tuple[Segment, ...]:
    """Return the map without empty segments, proved to be ascending, inside the file and as long as the data.

    Raises:
        errors.Invalid: It is not.
    """
    if not 0 <= real_size_bytes <= header.SIZE_MAX:
        raise invalid("the size of a sparse file is out of range")
    end = 0
    for offset, length in segments:
        if offset < end or length < 0 or offset + length > real_size_bytes:
            raise invalid("the segments of a sparse file overlap or exceed it")
        end = offset + length
    total = sum(length for _, length in segments)
    if total != data_bytes:
        raise invalid(f"a sparse file has {data_bytes} bytes of data, its map says {total}")
    return tuple(segment for segment in segments if segment[1])


def _old_segments(block: bytes, start: int, count: int) -> list[Segment]:
    segments: list[Segment] = []
    for position in range(start, start + 24 * count, 24):
        if block[position] == 0:
            break
        offset = header.number(block[position : position + 12], "sparse map")
        length = header.number(block[position + 12 : position + 24], "sparse map")
        segments.append((offset, length))
    return segments


def _pair(numbers: Sequence[int]) -> list[Segment]:
    if len(numbers) % 2:
        raise invalid("a sparse map has an odd number of values")
    _check_count(len(numbers) // 2)
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _check_count(count: int) -> None:
    if count > SEGMENTS_MAX:
        raise invalid(f"a sparse map has more than {SEGMENTS_MAX} segments")
