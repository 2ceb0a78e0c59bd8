"""Header compression (RFC 7541): a complete decoder, and an encoder that compresses by the static table only. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.transport import huffman
from cli.transport.faults import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE_BYTES_MAX = 4096
"""Size of the dynamic table: the protocol's default, which we never change."""
LIST_BYTES_MAX = 64 << 10
"""All headers of a block together, as the protocol counts them."""
_ENTRY_OVERHEAD = 32
_INTEGER_BYTES_MAX = 5

_STATIC: tuple[tuple[str, str], ...] = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
)  # fmt: skip


def encode(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a header block that leaves the receiver's dynamic table alone."""
    block = bytearray()
    for name, value in headers:
        if (name, value) in _STATIC:
            block += _integer(_STATIC.index((name, value)) + 1, 7, 0x80)
            continue
        block += b"\x00" + _string(name.encode("ascii")) + _string(value.encode("utf-8"))
    return bytes(block)


def _integer(value: int, prefix_bits: int, first: int) -> bytes:
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((first | value,))
    encoded = bytearray((first | most,))
    value -= most
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _string(data: bytes) -> bytes:
    return _integer(len(data), 7, 0) + data


class Decoder:
    """Decodes the header blocks of one connection, in the order received."""

    def __init__(self) -> None:
        self._dynamic: list[tuple[str, str]] = []
        self._dynamic_bytes = 0
        self._limit = TABLE_BYTES_MAX

    def decode(self, block: bytes) -> list[tuple[str, str]]:
        """Return the headers of a block.

        Raises:
            ProtocolError: It is malformed, or larger than `LIST_BYTES_MAX` decoded.
        """
        headers: list[tuple[str, str]] = []
        position = total = 0
        while position < len(block):
            first = block[position]
            if first & 0x80:
                index, position = self._read_integer(block, position, 7)
                header = self._entry(index)
            elif first & 0xE0 == 0x20:
                limit, position = self._read_integer(block, position, 5)
                if limit > TABLE_BYTES_MAX:
                    raise ProtocolError("a header table larger than allowed is announced")
                self._limit = limit
                self._evict(0)
                continue
            else:
                remembers = bool(first & 0x40)
                index, position = self._read_integer(block, position, 6 if remembers else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, position = self._read_string(block, position)
                value, position = self._read_string(block, position)
                header = (name, value)
                if remembers:
                    self._remember(header)
            total += _size(header)
            if total > LIST_BYTES_MAX:
                raise ProtocolError(f"headers are larger than {LIST_BYTES_MAX} bytes")
            headers.append(header)
        return headers

    def _entry(self, index: int) -> tuple[str, str]:
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        if len(_STATIC) < index <= len(_STATIC) + len(self._dynamic):
            return self._dynamic[index - len(_STATIC) - 1]
        raise ProtocolError("a header refers to an entry that the table has not")

    def _remember(self, header: tuple[str, str]) -> None:
        self._evict(_size(header))
        if _size(header) <= self._limit:
            self._dynamic.insert(0, header)
            self._dynamic_bytes += _size(header)

    def _evict(self, coming_bytes: int) -> None:
        while self._dynamic and self._dynamic_bytes + coming_bytes > self._limit:
            self._dynamic_bytes -= _size(self._dynamic.pop())

    @staticmethod
    def _read_integer(block: bytes, position: int, prefix_bits: int) -> tuple[int, int]:
        most = (1 << prefix_bits) - 1
        value = block[position] & most
        position += 1
        if value < most:
            return value, position
        for count in range(_INTEGER_BYTES_MAX):
            if position >= len(block):
                break
            byte = block[position]
            position += 1
            value += (byte & 0x7F) << 7 * count
            if not byte & 0x80:
                return value, position
        raise ProtocolError("a number in a header is cut off or too large")

    def _read_string(self, block: bytes, position: int) -> tuple[str, int]:
        if position >= len(block):
            raise ProtocolError("a header is cut off")
        coded = bool(block[position] & 0x80)
        length, position = self._read_integer(block, position, 7)
        data = block[position : position + length]
        if len(data) < length:
            raise ProtocolError("a header is cut off")
        return (huffman.decode(data) if coded else data).decode("utf-8", "replace"), position + length


def _size(header: tuple[str, str]) -> int:
    return len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD
