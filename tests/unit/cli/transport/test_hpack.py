"""Header compression, by the examples of RFC 7541, appendix C, and with any bytes at all."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.transport import hpack, huffman
from cli.transport.faults import ProtocolError

RESPONSES = [
    (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        [
            (":status", "302"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ],
    ),
    (
        "4883640effc1c0bf",
        [
            (":status", "307"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ],
    ),
]
"""C.6.1 and C.6.2: Huffman-coded, the second refers to what the first left in the table."""

REQUESTS = [
    (
        "828684410f7777772e6578616d706c652e636f6d",
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")],
    ),
    (
        "828684be58086e6f2d6361636865",
        [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
            ("cache-control", "no-cache"),
        ],
    ),
    (
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ],
    ),
]
"""C.3.1 to C.3.3: plain."""


@pytest.mark.parametrize("blocks", [RESPONSES, REQUESTS], ids=["huffman", "plain"])
def test_decodes_the_examples_of_the_standard(blocks: list[tuple[str, list[tuple[str, str]]]]) -> None:
    decoder = hpack.Decoder()
    for block, headers in blocks:
        assert decoder.decode(bytes.fromhex(block)) == headers


@pytest.mark.parametrize(
    ("coded", "plain"),
    [
        ("f1e3c2e5f23a6ba0ab90f4ff", b"www.example.com"),
        ("a8eb10649cbf", b"no-cache"),
        ("25a849e95ba97d7f", b"custom-key"),
        ("9d29ad171863c78f0b97c8e9ae82ae43d3", b"https://www.example.com"),
        ("", b""),
    ],
)
def test_decodes_huffman(coded: str, plain: bytes) -> None:
    assert huffman.decode(bytes.fromhex(coded)) == plain


def test_the_huffman_code_is_complete() -> None:
    huffman.decode(b"")
    codes = huffman._codes()
    assert sorted(codes.values()) == list(range(257))
    assert sum(2.0**-length for length, _ in codes) == 1
    assert codes[5, 0] == ord("0") and codes[30, 0x3FFFFFFF] == 256


@pytest.mark.parametrize("coded", ["ffffffff", "00ff00fffe", "20"])
def test_refuses_bad_padding_and_the_end_marker(coded: str) -> None:
    with pytest.raises(ProtocolError):
        huffman.decode(bytes.fromhex(coded))


@pytest.mark.parametrize(
    "block",
    ["80", "ff", "ffffffffffff", "40", "400a63", "3fe2ff03", "be", "0085f1e3"],
    ids=["index-0", "cut", "too-large", "no-name", "cut-name", "table-size", "empty-table", "cut-huffman"],
)
def test_refuses_broken_blocks(block: str) -> None:
    with pytest.raises(ProtocolError):
        hpack.Decoder().decode(bytes.fromhex(block))


def test_the_table_keeps_to_its_size() -> None:
    decoder = hpack.Decoder()
    for number in range(200):
        value = f"{number:0>100}"
        block = b"\x40" + b"\x01k" + bytes((len(value),)) + value.encode()
        assert decoder.decode(block) == [("k", value)]
    assert decoder._dynamic_bytes <= hpack.TABLE_BYTES_MAX
    assert decoder.decode(b"\xbe") == [("k", f"{199:0>100}")]
    assert decoder.decode(b"\x20") == []
    with pytest.raises(ProtocolError):
        decoder.decode(b"\xbe")


def test_a_header_bomb_is_refused() -> None:
    decoder = hpack.Decoder()
    decoder.decode(b"\x40\x01k\x7f\xd0\x0f" + b"x" * 2127)
    with pytest.raises(ProtocolError, match="larger than"):
        decoder.decode(b"\xbe" * 100)


@given(
    st.lists(
        st.tuples(st.text(alphabet="abc-:", min_size=1, max_size=20), st.text(max_size=300).map(lambda t: t)),
        max_size=8,
    )
)
def test_what_is_encoded_decodes(headers: list[tuple[str, str]]) -> None:
    headers = [(name, value.encode("utf-8", "replace").decode()) for name, value in headers]
    assert hpack.Decoder().decode(hpack.encode(headers)) == headers


@given(st.binary(max_size=200))
def test_any_bytes_give_headers_or_an_error(block: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        hpack.Decoder().decode(block)
