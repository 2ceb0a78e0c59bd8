"""Words of Dockerfile instructions: quotes, escapes and variables, by the rules of the Dockerfile reference.

Within '…' everything is literal. Elsewhere a backslash takes the next character as it is (within "…" only before `"`,
`$` and itself), and $NAME, ${NAME}, ${NAME:-default}, ${NAME-default}, ${NAME:+other}, ${NAME+other} are replaced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NESTING_MAX = 20
_BLANK = " \t\r\n"
_ESCAPE = "\\"


def split_raw(text: str) -> list[str]:
    """Return the words of `text` as they stand, quotes and escapes included; blanks inside quotes do not separate."""
    words: list[str] = []
    word, quote, index = "", "", 0
    while index < len(text):
        char = text[index]
        if char == _ESCAPE and quote != "'" and index + 1 < len(text):
            word += text[index : index + 2]
            index += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _BLANK:
            if word:
                words.append(word)
            word, char = "", ""
        word += char
        index += 1
    if quote:
        raise _invalid(text, f"the quote {quote} is not closed")
    return [*words, word] if word else words


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return one word without its quotes and escapes, its variables replaced; an unset variable is empty.

    Raises:
        errors.Invalid: A quote or brace is not closed, or an unknown modifier is used.
    """
    return _Expander(text, variables).run()


@dataclass(slots=True)
class _Expander:
    """A reader of the text, at a place in it."""

    text: str
    variables: Mapping[str, str]
    index: int = 0
    depth: int = 0

    def run(self) -> str:
        result = self._until("")
        assert self.index == len(self.text), f"stopped at {self.index} of {len(self.text)}"
        return result

    def _until(self, end: str) -> str:
        out: list[str] = []
        while self.index < len(self.text):
            char = self.text[self.index]
            if end and char == end:
                return "".join(out)
            self.index += 1
            if char == "'":
                out.append(self._single_quoted())
            elif char == '"':
                out.append(self._double_quoted())
            elif char == _ESCAPE:
                out.append(self._escaped())
            elif char == "$":
                out.append(self._variable())
            else:
                out.append(char)
        if end:
            raise _invalid(self.text, f"{end!r} is missing")
        return "".join(out)

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.index)
        if end < 0:
            raise _invalid(self.text, "the quote ' is not closed")
        quoted, self.index = self.text[self.index : end], end + 1
        return quoted

    def _double_quoted(self) -> str:
        out: list[str] = []
        while self.index < len(self.text):
            char = self.text[self.index]
            self.index += 1
            if char == '"':
                return "".join(out)
            if char == "$":
                out.append(self._variable())
            elif char == _ESCAPE and self.text[self.index : self.index + 1] in {'"', "$", _ESCAPE}:
                out.append(self._escaped())
            else:
                out.append(char)
        raise _invalid(self.text, 'the quote " is not closed')

    def _escaped(self) -> str:
        char = self.text[self.index : self.index + 1]
        self.index += 1 if char else 0
        return char or _ESCAPE

    def _variable(self) -> str:
        if self.text[self.index : self.index + 1] == "{":
            self.index += 1
            return self._braced()
        match = _NAME.match(self.text, self.index)
        if match is None:
            return "$"
        self.index = match.end()
        return self.variables.get(match[0], "")

    def _braced(self) -> str:
        match = _NAME.match(self.text, self.index)
        if match is None:
            raise _invalid(self.text, "a variable name is missing after ${")
        self.index = match.end()
        value = self.variables.get(match[0])
        colon = self.text[self.index : self.index + 1] == ":"
        self.index += 1 if colon else 0
        modifier = self.text[self.index : self.index + 1]
        if modifier == "}" and not colon:
            self.index += 1
            return value or ""
        if modifier not in {"-", "+"}:
            raise _invalid(self.text, f"only ${{{match[0]}:-…}} and ${{{match[0]}:+…}} are known")
        self.index += 1
        self.depth += 1
        if self.depth > _NESTING_MAX:
            raise _invalid(self.text, f"variables are nested deeper than {_NESTING_MAX}")
        other = self._until("}")
        self.depth -= 1
        self.index += 1
        is_set = value is not None and (value != "" or not colon)
        if modifier == "-":
            return (value or "") if is_set else other
        return other if is_set else ""


def _invalid(text: str, why: str) -> errors.Invalid:
    return errors.Invalid(f"cannot read {text[:200]!r}: {why}", reason="CHANGE_INVALID")
