"""`printf` of templates. Pure. What does not fit is shown in the output, as Go does it: %!d(string=x)."""

from __future__ import annotations

import json
import re

from cli.format.values import Nil, show

_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d*))?([a-zA-Z%])")
_WIDTH_MAX = 1_000


def printf(layout: object, *values: object) -> str:
    """Expand a layout."""
    rest = list(values)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        return _padded(_converted(verb, rest.pop(0), flags, precision), flags, width, verb)

    text = _VERB.sub(one, show(layout))
    extra = ", ".join(f"{_type(value)}={show(value)}" for value in rest)
    return f"{text}%!(EXTRA {extra})" if extra else text


def _converted(verb: str, value: object, flags: str, precision: str | None) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match verb:
        case "v":
            return show(value)
        case "T":
            return _type(value)
        case "s" if not number and not isinstance(value, bool):
            text = show(value)
            return text if precision is None else text[: int(precision or 0)]
        case "q" if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        case "q" if isinstance(value, list | tuple):
            return "[" + " ".join(_converted("q", item, "", None) for item in value) + "]"
        case "q" if isinstance(value, Nil):
            return show(value)
        case "t" if isinstance(value, bool):
            return show(value)
        case "x" | "X" if isinstance(value, str):
            text = value.encode().hex()
            return text.upper() if verb == "X" else text
        case "c" | "q" if isinstance(value, int) and number and 0 <= value < 0x110000:
            return chr(value) if verb == "c" else f"'{chr(value)}'"
        case "d" | "x" | "X" | "o" | "b" if isinstance(value, int) and number:
            return f"{value:{'+' if '+' in flags else ''}{verb}}"
        case "f" | "F" | "e" | "E" | "g" | "G" if isinstance(value, float):
            places = f".{precision or 0}" if precision is not None else ("" if verb in "gG" else ".6")
            return f"{value:{'+' if '+' in flags else ''}{places}{verb}}"
        case _:
            return f"%!{verb}({_type(value)}={show(value)})"


def _padded(text: str, flags: str, width: str, verb: str) -> str:
    wanted = min(int(width or 0), _WIDTH_MAX)
    if "-" in flags:
        return text.ljust(wanted)
    if "0" in flags and verb in "dxXobfFeEgG":
        return text.zfill(wanted)
    return text.rjust(wanted)


def _type(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case dict():
            return "map[string]interface {}"
        case list() | tuple() | Nil():
            return "[]interface {}"
        case _:
            return "<nil>"
