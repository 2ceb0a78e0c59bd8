"""The order of names in tables."""

from __future__ import annotations

from cli.natural_order import natural


def test_numbers_in_names_count_as_numbers() -> None:
    names = ["v14", "v2", "a", "v07", "v7", "9", "10", "v2b10", "v2b9", "v"]
    assert sorted(names, key=natural) == ["9", "10", "a", "v", "v2", "v2b9", "v2b10", "v07", "v7", "v14"]
