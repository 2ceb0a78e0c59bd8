"""Docker's notation of detach keys."""

from __future__ import annotations

import pytest

from services.kit import detach_keys, errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b"\x10\x11"),
        ("-", b""),
        ("a,ctrl-[,ctrl-Z", b"a\x1b\x1a"),
        ("ctrl-@,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1c\x1d\x1e\x1f"),
        ("DEL,1", b"\x7f1"),
    ],
)
def test_bytes_of_keys(text: str, expected: bytes) -> None:
    assert detach_keys.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["ctrl-", "ctrl-1", "ab", "del", "ctrl-ab", "é", ",", "a,,b", ",".join("a" * 17)]
)
def test_no_keys(text: str) -> None:
    with pytest.raises(errors.Invalid, match="detach key"):
        detach_keys.parse(text)
