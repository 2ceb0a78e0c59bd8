"""Patterns for names, by the rules of Go's path.Match, which the `reference` filter uses.

`*` and `?` do not match a slash; `[a-z]` and `[^a-z]` are sets; a backslash takes the next character as it is.
"""

from __future__ import annotations

import re

from services.kit import errors

PATTERN_CHARS_MAX = 500


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for `fullmatch`.

    Raises:
        errors.Invalid: The pattern is malformed.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        raise _invalid(pattern, "it is too long")
    out, index = "", 0
    while index < len(pattern):
        char = pattern[index]
        index += 1
        match char:
            case "*":
                out += "[^/]*" if not out.endswith("[^/]*") else ""  # a row of stars is one star
            case "?":
                out += "[^/]"
            case "[":
                members, index = _set(pattern, index)
                out += members
            case "\\":
                if index == len(pattern):
                    raise _invalid(pattern, "it ends in a backslash")
                out += re.escape(pattern[index])
                index += 1
            case _:
                out += re.escape(char)
    return re.compile(out, re.DOTALL)


def _set(pattern: str, index: int) -> tuple[str, int]:
    """Return the expression of the set that begins behind `[`, and where it ends."""
    negated = pattern[index : index + 1] == "^"
    index += 1 if negated else 0
    members = ""
    while True:
        low, index = _member(pattern, index)
        high = low
        if pattern[index : index + 1] == "-":
            high, index = _member(pattern, index + 1)
        if low > high:
            raise _invalid(pattern, f"the range {low}-{high} is empty")
        members += f"{re.escape(low)}-{re.escape(high)}"
        if pattern[index : index + 1] == "]":
            return f"(?!/)[{'^' if negated else ''}{members}]", index + 1


def _member(pattern: str, index: int) -> tuple[str, int]:
    char = pattern[index : index + 1]
    if char == "\\":
        index += 1
        char = pattern[index : index + 1]
    elif char in {"-", "]"}:
        char = ""
    if not char:
        raise _invalid(pattern, "a set is not closed, or is empty")
    return char, index + 1


def _invalid(pattern: str, why: str) -> errors.Invalid:
    return errors.Invalid(f"bad pattern {pattern[:100]!r}: {why}", reason="FILTER_INVALID")
