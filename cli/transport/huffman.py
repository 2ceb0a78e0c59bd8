"""Huffman decoding of header strings (RFC 7541, section 5.2 and appendix B). Pure.

The code is canonical: among codes of one length, those of larger symbols are larger, and longer codes follow shorter
ones. So the lengths alone define it. Servers use it for binary trailers, which carry the details of an error.
"""

from __future__ import annotations

from cli.transport.faults import ProtocolError

_EOS = 256
_PADDING_BITS_MAX = 7
_LENGTHS = (
    "13 23 28*7 24 30 28*2 30 28*8 30 28*9 6 10*2 12 13 6 8 11 10*2 8 11 8 6*3 5*3 6*7 7 8 15 6 12 10 13 6 7*22 8 7 8"
    " 13 19 13 14 6 15 5 6 5 6 5 6*3 5 7*2 6*3 5 6 7 6 5*2 6 7*5 15 11 14 13 28 20 22 20*2 22*3 23 22 23*5 24 23 24*2"
    " 22 23 24 23*4 21 22 23 22 23*2 24 22 21 20 22*2 23*2 21 23 22*2 24 21 22 23*2 21*2 22 21 23 22 23*2 20 22*3 23"
    " 22*2 23 26*2 20 19 22 23 22 25 26*3 27*2 26 24 25 19 21 26 27*2 26 27 24 21*2 26*2 28 27*3 20 24 20 21 22 21*2"
    " 23 22*2 25*2 24*2 26 23 26 27 26*2 27*5 28 27*5 26 30"
)
"""Code lengths of the symbols 0 to 256, runs written as length*count."""


def _codes() -> dict[tuple[int, int], int]:
    lengths: list[int] = []
    for part in _LENGTHS.split():
        each, _, count = part.partition("*")
        lengths += [int(each)] * int(count or 1)
    codes: dict[tuple[int, int], int] = {}
    code = previous = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths)):
        code <<= length - previous
        codes[length, code] = symbol
        code, previous = code + 1, length
    return codes


_table: dict[tuple[int, int], int] = {}


def decode(data: bytes) -> bytes:
    """Return the text of a Huffman-coded string.

    Raises:
        ProtocolError: The end marker occurs, or the padding is none.
    """
    if not _table:
        _table.update(_codes())
    found = bytearray()
    code = length = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code = code << 1 | byte >> shift & 1
            length += 1
            symbol = _table.get((length, code))
            if symbol is None:
                continue
            if symbol == _EOS:
                raise ProtocolError("a header holds the end marker of its code")
            found.append(symbol)
            code = length = 0
    if length > _PADDING_BITS_MAX or code != (1 << length) - 1:
        raise ProtocolError("a header ends within a code")
    return bytes(found)
