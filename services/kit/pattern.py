"""Regular expressions of clients, matched in time linear in the text.

`re` backtracks: a short pattern can keep the daemon busy for hours. These patterns are those that do not need it, which
are RE2's but for look-around and back-references, run as an automaton that is in all of its states at once.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

PATTERN_CHARS_MAX = 256
STATES_MAX = 1000
DEPTH_MAX = 20
REPEAT_MAX = 100
TEXT_CHARS_MAX = 4096
"""Of a longer text the beginning is looked at."""

_REPEAT = re.compile(r"\{(\d{1,4})(?:(,)(\d{1,4})?)?\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_GROUP = re.compile(r"\((\?:|\?P?<[A-Za-z_]\w*>)?(?!\?)")
_META = frozenset("\\.+*?()|[]{}^$")


@dataclass(frozen=True, slots=True)
class _State:
    """One state: a character to consume, a condition that holds between two characters, or neither."""

    following: tuple[int, ...]
    takes: Callable[[str], object] | None = None
    holds: Callable[[str, str], bool] | None = None


class Pattern:
    """A compiled pattern.

    Raises:
        errors.Invalid: It does not parse, asks for what takes backtracking, or is too big (PATTERN_INVALID).
    """

    def __init__(self, text: str) -> None:
        self._literal = text if not _META.intersection(text) and len(text) <= TEXT_CHARS_MAX else None
        self._states: list[_State] = [_State(())]
        self._start = 0
        if self._literal is None:
            self._start = _Parser(text, self._states).parse()(0)

    def found_in(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in the text."""
        text = text[:TEXT_CHARS_MAX]
        if self._literal is not None:
            return self._literal in text
        current: set[int] = set()
        before = ""
        for after in (*text, ""):
            current = self._closure(current | {self._start}, before, after)
            if 0 in current:
                return True
            current = {
                following
                for state in current
                if (takes := self._states[state].takes) is not None and after and takes(after)
                for following in self._states[state].following
            }
            before = after
        return False

    def _closure(self, states: set[int], before: str, after: str) -> set[int]:
        """Return what is reached from these states without consuming a character."""
        reached = set(states)
        waiting = list(states)
        while waiting:
            state = self._states[waiting.pop()]
            if state.takes is not None or (state.holds is not None and not state.holds(before, after)):
                continue
            new = [following for following in state.following if following not in reached]
            reached.update(new)
            waiting += new
        return reached


@functools.lru_cache(maxsize=64)
def compiled(text: str) -> Pattern:
    """Return the pattern, made once for all the texts it is looked for in."""
    return Pattern(text)


class _Parser:
    """Recursive descent; each level returns how its part is added to the automaton, which grows from its end."""

    def __init__(self, text: str, states: list[_State]) -> None:
        if len(text) > PATTERN_CHARS_MAX:
            raise _invalid(f"a pattern of {len(text)} characters: at most {PATTERN_CHARS_MAX}")
        self._ignore_case = text.startswith("(?i)")
        self._text = text
        self._at = len("(?i)") if self._ignore_case else 0
        self._states = states
        self._depth = 0

    def parse(self) -> Callable[[int], int]:
        whole = self._alternatives()
        if self._at < len(self._text):
            raise self._refused("unexpected )")
        return whole

    def _alternatives(self) -> Callable[[int], int]:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._sequence())
        if len(branches) == 1:
            return branches[0]
        return lambda end: self._add(_State(tuple(branch(end) for branch in branches)))

    def _sequence(self) -> Callable[[int], int]:
        parts: list[Callable[[int], int]] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated())

        def emit(end: int) -> int:
            for part in reversed(parts):
                end = part(end)
            return end

        return emit

    def _repeated(self) -> Callable[[int], int]:
        part = self._atom()
        while (bounds := self._bounds()) is not None:
            part = functools.partial(self._emit_repeat, part, *bounds)
        return part

    def _bounds(self) -> tuple[int, int | None] | None:
        char = self._peek()
        if char in ("*", "+", "?"):
            self._at += 1
            bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        elif (match := _REPEAT.match(self._text, self._at)) is not None:
            self._at = match.end()
            low = int(match[1])
            high = int(match[3]) if match[3] else None if match[2] else low
            if max(low, high or 0) > REPEAT_MAX or (high is not None and high < low):
                raise self._refused(f"invalid repeat count {match[0]}: at most {REPEAT_MAX}")
            bounds = (low, high)
        else:
            return None
        if self._peek() == "?":  # lazy: the same texts match
            self._at += 1
        return bounds

    def _emit_repeat(self, part: Callable[[int], int], low: int, high: int | None, end: int) -> int:
        if high is None:
            loop = self._add(_State(()))
            self._states[loop] = _State((part(loop), end))
            end = loop
        else:
            skip = end
            for _ in range(high - low):
                end = self._add(_State((part(end), skip)))
        for _ in range(low):
            end = self._add(_State((part(end),)))
        return end

    def _atom(self) -> Callable[[int], int]:
        char = self._peek()
        if char == "(":
            return self._group()
        if char == "[":
            match = _CLASS.match(self._text, self._at)
            if match is None or "[:" in match[0]:
                raise self._refused("missing ], or a class by name")
            self._at = match.end()
            return self._taking(match[0])
        if char in ("*", "+", "?"):
            raise self._refused("nothing to repeat")
        self._at += 1
        if char == "\\":
            return self._escape()
        if char == "^":
            return self._holding(lambda before, _: not before)
        if char == "$":
            return self._holding(lambda _, after: not after)
        return self._taking(char if char == "." else re.escape(char))

    def _group(self) -> Callable[[int], int]:
        match = _GROUP.match(self._text, self._at)
        if match is None:
            raise self._refused("look-around and flags inside are not supported")
        self._at = match.end()
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._refused(f"groups are nested deeper than {DEPTH_MAX}")
        inner = self._alternatives()
        if self._peek() != ")":
            raise self._refused("missing )")
        self._at += 1
        self._depth -= 1
        return inner

    def _escape(self) -> Callable[[int], int]:
        char = self._peek()
        self._at += 1
        if char and char in "dDwWsStnrfv":
            return self._taking(f"\\{char}")
        if char == "A":
            return self._holding(lambda before, _: not before)
        if char == "z":
            return self._holding(lambda _, after: not after)
        if char == "b":
            return self._holding(lambda before, after: _is_word(before) != _is_word(after))
        if char == "B":
            return self._holding(lambda before, after: _is_word(before) == _is_word(after))
        if not char or char.isalnum():
            raise self._refused(f"\\{char} is not supported")
        return self._taking(re.escape(char))

    def _taking(self, one: str) -> Callable[[int], int]:
        """Take one character. What of it there is to match is a class of characters, which `re` knows."""
        try:
            takes = re.compile(one, re.IGNORECASE if self._ignore_case else 0).fullmatch
        except re.error as exc:
            raise self._refused(str(exc)) from None
        return lambda end: self._add(_State((end,), takes=takes))

    def _holding(self, holds: Callable[[str, str], bool]) -> Callable[[int], int]:
        return lambda end: self._add(_State((end,), holds=holds))

    def _add(self, state: _State) -> int:
        if len(self._states) >= STATES_MAX:
            raise self._refused("it is too big")
        self._states.append(state)
        return len(self._states) - 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _refused(self, why: str) -> errors.Invalid:
        return _invalid(f"invalid pattern {self._text!r}: {why}")


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="PATTERN_INVALID")
