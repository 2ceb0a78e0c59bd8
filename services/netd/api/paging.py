"""Pages of a sorted list. A token is the key of the last item that was sent: changes between pages do no harm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

PAGE_SIZE_MAX = 1000


def page(items: Iterable[T], key: Callable[[T], str], size: int, token: str) -> tuple[list[T], str]:
    """Return the items behind `token`, at most `size` (0: as many as allowed), and the next token, empty at the end."""
    size = min(size or PAGE_SIZE_MAX, PAGE_SIZE_MAX)
    behind = sorted((item for item in items if not token or key(item) > token), key=key)
    chosen = behind[:size]
    return chosen, key(chosen[-1]) if len(behind) > len(chosen) else ""
