"""The order of names in docker's tables: the numbers in them count as numbers, so that v9 comes before v10."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return what to sort a name by: its texts and its numbers in turn, and itself, where the numbers are the same."""
    return tuple(int(part) if at % 2 else part for at, part in enumerate(_DIGITS.split(name))), name
