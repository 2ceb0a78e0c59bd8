"""Patterns of clients: the same answers as `re`, without its backtracking."""

from __future__ import annotations

import re

import pytest

from services.kit import errors
from services.kit.pattern import Pattern

TEXTS = ("", "a", "web-1", "/web-1", "Web_12", "aaab", "a.b", "ab\n", "x]y", "foo bar", "abcabc", "é1")


@pytest.mark.parametrize(
    "pattern",
    [
        "", "web", "^web", "^/web-1$", "w.b", "a*b", "a+?b", "(a|ab)(c|bcd)*", "(?i)WEB", "[a-c]{2,3}", "a{2}b",
        "[^]x]", r"\d+$", r"\bbar\b", r"\Bb", r"a\.b", "(?:x|)y", "(?P<n>fo+)", "(a*)*b", "a{,2}", "^$", "a{2,}",
        "b|", "(^a|b$)",
    ],
)  # fmt: skip
def test_finds_what_re_finds(pattern: str) -> None:
    expression = re.compile(pattern.replace("a{,2}", r"a\{,2\}"))
    for text in TEXTS:
        if text.endswith("\n") and "$" in pattern:
            continue  # for `re` $ also stands before a last newline
        assert Pattern(pattern).found_in(text) == (expression.search(text) is not None), text


def test_a_pattern_that_backtracks_for_ever_elsewhere_answers() -> None:
    assert not Pattern("(a+)+$").found_in("a" * 64 + "!")
    assert not Pattern("(a|a)*(a|a)*(a|a)*x").found_in("a" * 4000)


@pytest.mark.parametrize(
    "pattern",
    [
        "(", ")", "a)", "[", "*a", "(?=a)", r"(a)\1", "a{101}", "a{3,2}", "(((a{90}){90}){90}){90}", "[z-a]",
        "((){100}){100}", "." * 257, "(" * 21 + ")" * 21, "\\", "[[:alpha:]]", r"\pL",
    ],
)  # fmt: skip
def test_what_cannot_be_bounded_is_refused(pattern: str) -> None:
    with pytest.raises(errors.Invalid):
        Pattern(pattern)
