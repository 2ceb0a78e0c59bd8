"""What click and protobuf import at every start and we need in none: a quarter of the time that a command takes.

Each stand-in does what the module would, and gives way to it where more is asked.
"""

from __future__ import annotations

from typing import Any

from services.kit import deferred


def install() -> None:
    """Defer. To be called before anything is imported that imports click or protobuf."""
    deferred.defer("gettext", gettext=str, ngettext=_plural)
    deferred.defer("inspect", cleandoc=_cleandoc)
    deferred.defer("uuid", UUID=_Uuid)
    deferred.defer("google.protobuf.internal.python_message")


def _plural(singular: str, plural: str, count: int) -> str:
    """Choose, as `gettext.ngettext` does without a catalogue. Neither click nor we have one."""
    return singular if count == 1 else plural


def _cleandoc(text: str) -> str:
    """Do what `inspect.cleandoc` does, which click asks for each option's help."""
    if "\n" not in text and "\t" not in text:
        return text.lstrip(" ")
    cleaned: str = deferred.load("inspect").cleandoc(text)
    return cleaned


class _Uuid:
    """Names the type in an annotation of click's; who makes one gets a real one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return a real one."""
        return deferred.load("uuid").UUID(*args, **kwargs)
