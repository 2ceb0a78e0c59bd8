"""The functions of templates: those of Docker's command line, and Go's own. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from cli.format.printing import printf
from cli.format.values import NO_MAP, Nil, TemplateError, plain, show

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;", "\0": "\ufffd"}
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
_BASIC = (bool, int, float, str)


def _index(value: Any, *keys: Any) -> object:
    for key in keys:
        if value is NO_MAP:
            value = ""
        elif isinstance(value, dict):
            value = value.get(key, "" if all(isinstance(item, str) for item in value.values()) else None)
        elif isinstance(value, list | tuple | str) and isinstance(key, int) and not isinstance(key, bool):
            if not 0 <= key < len(value):
                raise TemplateError(f"index {key} is out of range of {len(value)} elements")
            value = value[key]
        else:
            raise TemplateError(f"cannot index {show(value)[:40]!r} with {show(key)!r}")
    return value


def _slice(value: Any, *bounds: Any) -> object:
    if not isinstance(value, list | tuple | str):
        raise TemplateError(f"cannot slice {show(value)[:40]!r}")
    first = bounds[0] if bounds else 0
    last = bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= first <= last <= len(value):
        raise TemplateError(f"slice {first}:{last} is out of range of {len(value)} elements")
    return value[first:last]


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise TemplateError("eq: missing argument for comparison")
    for other in others:
        if isinstance(first, _BASIC) and isinstance(other, _BASIC) and _kind(first) is not _kind(other):
            raise TemplateError(f"eq: incompatible types for comparison: {show(first)!r} and {show(other)!r}")
    return first in others


def _kind(value: object) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _compare(sign: str) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        try:
            return bool(
                {"lt": left < right, "le": left <= right, "gt": left > right, "ge": left >= right}[sign]
            )
        except TypeError:
            raise TemplateError(f"{sign}: cannot compare {show(left)!r} and {show(right)!r}") from None

    return compare


def _print(*values: object) -> str:
    """Join values, with a space between two that are no strings."""
    text = ""
    for position, value in enumerate(values):
        apart = position and not isinstance(value, str) and not isinstance(values[position - 1], str)
        text += f"{' ' if apart else ''}{show(value)}"
    return text


def _json(value: object) -> str:
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def _join(value: Any, by: object) -> str:
    if not isinstance(value, list | tuple | Nil):
        raise TemplateError(f"join: {show(value)[:40]!r} is no list")
    return show(by).join(show(item) for item in value)


def _title(value: object) -> str:
    return re.sub(r"(?<!\w)\w", lambda match: match[0].upper(), show(value))


def _pad(value: object, before: int, after: int) -> str:
    return " " * before + show(value) + " " * after if show(value) else ""


def _urlquery(value: object) -> str:
    from urllib.parse import quote_plus

    return quote_plus(show(value))


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "json": _json,
    "join": _join,
    "split": lambda value, by: show(value).split(show(by)) if by else list(show(value)),
    "upper": lambda value: show(value).upper(),
    "lower": lambda value: show(value).lower(),
    "title": _title,
    "pad": _pad,
    "truncate": lambda value, length: show(value)[: int(length)],
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "print": _print,
    "printf": printf,
    "len": len,
    "index": _index,
    "slice": _slice,
    "eq": _equal,
    "ne": lambda left, right: not _equal(left, right),
    "lt": _compare("lt"),
    "le": _compare("le"),
    "gt": _compare("gt"),
    "ge": _compare("ge"),
    "not": lambda value: not value,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "html": lambda value: "".join(_HTML.get(character, character) for character in show(value)),
    "js": lambda value: "".join(
        _JS.get(character) or (f"\\u{ord(character):04X}" if character < " " else character)
        for character in show(value)
    ),
    "urlquery": _urlquery,
}
TITLE_FUNCTIONS: Mapping[str, Callable[..., object]] = {
    **FUNCTIONS,
    **dict.fromkeys(
        ("json", "join", "split", "upper", "lower", "title", "truncate"), lambda title, *_: title
    ),
}
"""Of titles of columns, which stay as they are where values are changed."""
LAZY: Mapping[str, bool] = {"and": False, "or": True}
"""Functions whose operands are evaluated up to the first that is as true as this, which is the result."""
