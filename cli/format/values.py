"""The values that templates and JSON are made of, where Python has no type for what Go prints differently. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class TemplateError(Exception):
    """The template is wrong, or does not fit the value; the message says where."""


class OpenMap(dict[str, object]):
    """A mapping whose keys are data: one that is not there has no value, where a field would be an error."""


class Struct(dict[str, Any]):
    """Named fields in their order; Go prints only their values: {0.0.0.0 8080}."""


class Sparse(dict[str, Any]):
    """Named fields, some of which JSON leaves out when they are empty. Templates find them all.

    Args:
        fields: All of them, in their order.
        optional: Names of those that are left out.
    """

    def __init__(self, fields: Mapping[str, Any], *, optional: Collection[str]) -> None:
        super().__init__(fields)
        self.optional = optional


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


def plain(value: object) -> object:
    """Return a value as JSON has it.

    Fields that are functions, such as `Label`, are left out: JSON has the data that they look into.
    """
    match value:
        case Nil():
            return None
        case dict():
            optional = value.optional if isinstance(value, Sparse) else ()
            return {
                key: plain(item)
                for key, item in value.items()
                if not callable(item) and (item or key not in optional)
            }
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def show(value: object) -> str:
    """Print a value as Go would with %v."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        case Struct() | Sparse():
            return "{" + " ".join(show(item) for item in value.values()) + "}"
        case dict():
            return (
                "map["
                + " ".join(f"{key}:{show(item)}" for key, item in sorted(value.items()) if not callable(item))
                + "]"
            )
        case list() | tuple():
            return "[" + " ".join(show(item) for item in value) + "]"
        case _:
            return str(value)
