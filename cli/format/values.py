"""The values that templates and JSON are made of, where Python has no type for what Go prints differently. Pure."""

from __future__ import annotations

from typing import Any, Final


class TemplateError(Exception):
    """The template is wrong, or does not fit the value; the message says where."""


class OpenMap(dict[str, object]):
    """A mapping whose keys are data: one that is not there has no value, where a field would be an error."""


class Struct(dict[str, Any]):
    """Named fields in their order; Go prints only their values: {0.0.0.0 8080}."""


class Nil:
    """A list or mapping that is not there: null in JSON, and empty for templates, which print what it would be."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Any:
        return iter(())

    def __eq__(self, other: object) -> bool:
        """It is what JSON has for it."""
        return other is None or other is self

    def __hash__(self) -> int:
        return hash(None)


NO_LIST: Final = Nil("[]")
NO_MAP: Final = Nil("map[]")
NO_VALUE: Final = Nil("<no value>")
"""What an open map has for a key that it has not."""


def as_json(value: object) -> None:
    """Stand in for what JSON knows no type for (`json.dumps(default=...)`).

    Raises:
        TypeError: It is no Nil.
    """
    if not isinstance(value, Nil):
        raise TypeError(f"{type(value).__name__} is no JSON")


def show(value: object) -> str:
    """Print a value as Go would with %v."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        case Struct():
            return "{" + " ".join(show(item) for item in value.values()) + "}"
        case dict():
            return "map[" + " ".join(f"{key}:{show(item)}" for key, item in sorted(value.items())) + "]"
        case list() | tuple():
            return "[" + " ".join(show(item) for item in value) + "]"
        case _:
            return str(value)
