"""Lists in pages. A token holds the place of the last object in the order, so that pages stay right while objects come
and go: nothing that was there all the time is left out or sent twice. Pure.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from google.protobuf.message import Message

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T", bound=Message)
Key = tuple[str | int, ...]

PAGE_MAX = 1000
PAGE_BYTES_MAX = 4 << 20
"""A page of large objects is shorter."""
_TOKEN_CHARS_MAX = 2048


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and where the next begins; an empty token says that there is none."""

    items: Sequence[T]
    next_token: str


def page(items: Iterable[T], key: Callable[[T], Key], *, size: int, token: str) -> Page[T]:
    """Return the page that follows `token`.

    Args:
        items: All objects, in any order.
        key: Orders them, and is different for each.
        size: At most so many; 0 is `PAGE_MAX`, more is as much.
        token: From the page before; empty for the first.

    Raises:
        errors.Invalid: PAGE_TOKEN_INVALID.
    """
    keyed = sorted(((key(item), item) for item in items), key=lambda pair: pair[0])
    if token:
        after = _parse(token)
        try:
            keyed = [pair for pair in keyed if pair[0] > after]
        except TypeError:
            raise _bad_token() from None
    limit = min(size, PAGE_MAX) if size else PAGE_MAX
    taken, size_bytes = 0, 0
    for _, item in keyed[:limit]:
        size_bytes += item.ByteSize()
        if taken and size_bytes > PAGE_BYTES_MAX:
            break
        taken += 1
    next_token = _render(keyed[taken - 1][0]) if taken < len(keyed) else ""
    return Page([item for _, item in keyed[:taken]], next_token)


def _render(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode()


def _parse(token: str) -> Key:
    if len(token) > _TOKEN_CHARS_MAX:
        raise _bad_token()
    try:
        key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, RecursionError):
        raise _bad_token() from None
    if not isinstance(key, list) or not all(isinstance(part, str | int) for part in key):
        raise _bad_token()
    return tuple(key)


def _bad_token() -> errors.Invalid:
    return errors.Invalid("the page token is not one that this list gave out", reason="PAGE_TOKEN_INVALID")
