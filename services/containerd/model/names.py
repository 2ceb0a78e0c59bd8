"""Names and ids of containers. Pure."""

from __future__ import annotations

import re

from services.kit import errors

NAME_CHARS_MAX = 255
SHORT_ID_CHARS = 12
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ID = re.compile(r"[0-9a-f]{64}")


def given(name: str) -> str:
    """Return the name that is meant: it may be written as `inspect` shows it, with a slash before it.

    Raises:
        errors.Invalid: It is none.
    """
    meant = name.removeprefix("/")
    check(meant)
    return meant


def check(name: str) -> None:
    """Refuse what is no name. A name of 64 hex digits would pass for an id.

    Raises:
        errors.Invalid: With the rule.
    """
    if len(name) > NAME_CHARS_MAX or _NAME.fullmatch(name) is None or _ID.fullmatch(name) is not None:
        raise errors.Invalid(
            f"invalid container name {name[:80]!r}: two or more of letters, digits, '_', '.' and '-', beginning with"
            f" a letter or digit, at most {NAME_CHARS_MAX}",
            reason="SPEC_INVALID",
        )
