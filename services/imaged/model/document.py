"""Reading JSON that somebody else wrote: every access is checked, every complaint names the document and the field."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

DOCUMENT_BYTES_MAX = 8 << 20
_INT64_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object with checked access. A field that is missing or null reads as the type's empty value."""

    fields: Mapping[str, object]
    what: str
    """For messages: "image manifest", or the path of a field in one."""

    def text(self, key: str) -> str:
        """Return a string, "" if absent."""
        return self._typed(key, str, "")

    def integer(self, key: str) -> int:
        """Return an integer of at most 63 bits, 0 if absent."""
        value = self._typed(key, int, 0)
        if isinstance(value, bool) or abs(value) > _INT64_MAX:
            raise self.invalid(key, "is not a 64-bit integer")
        return value

    def boolean(self, key: str) -> bool:
        """Return a boolean, False if absent."""
        return self._typed(key, bool, False)

    def child(self, key: str) -> Document:
        """Return an object, an empty one if absent."""
        value = self.fields.get(key)
        return Document({} if value is None else self._object(value, key), f"{self.what}: {key}")

    def children(self, key: str) -> tuple[Document, ...]:
        """Return a list of objects, empty if absent."""
        items = self._typed(key, list, [])
        return tuple(
            Document(self._object(item, f"{key}[{index}]"), f"{self.what}: {key}[{index}]")
            for index, item in enumerate(items)
        )

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty if absent."""
        items = self._typed(key, list, [])
        if not all(isinstance(item, str) for item in items):
            raise self.invalid(key, "is not a list of strings")
        return tuple(items)

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object of strings, empty if absent."""
        value = self.child(key).fields
        result = {name: text for name, text in value.items() if isinstance(text, str)}
        if len(result) != len(value):
            raise self.invalid(key, "has a value that is not a string")
        return result

    def keys(self, key: str) -> tuple[str, ...]:
        """Return the names of an object that stands for a set, such as ExposedPorts, sorted."""
        return tuple(sorted(self.child(key).fields))

    def has(self, key: str) -> bool:
        """Return whether the field is there and not null."""
        return self.fields.get(key) is not None

    def invalid(self, key: str, why: str) -> errors.Invalid:
        """Return the error that says what is wrong with a field."""
        return errors.Invalid(f"{self.what}: field {key!r} {why}", reason="DOCUMENT_INVALID")

    def _typed(self, key: str, kind: type[T], default: T) -> T:
        value = self.fields.get(key)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise self.invalid(key, f"is a JSON {_json_name(value)}, not {_json_name(default)}")
        return value

    def _object(self, value: object, key: str) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self.invalid(key, "is not an object")
        return value


def parse(data: bytes, what: str) -> Document:
    """Return the JSON object in `data`; `what` names it in messages.

    Raises:
        errors.Invalid: With reason DOCUMENT_INVALID: too large, not JSON, or not an object.
    """
    value = load(data, what)
    if not isinstance(value, dict):
        raise errors.Invalid(f"{what} is not a JSON object", reason="DOCUMENT_INVALID")
    return Document(value, what)


def load(data: bytes, what: str) -> object:
    """Return the JSON value in `data`, of any type; raises as `parse` does."""
    if len(data) > DOCUMENT_BYTES_MAX:
        raise errors.Invalid(
            f"{what} is larger than {DOCUMENT_BYTES_MAX >> 20} MiB", reason="DOCUMENT_INVALID"
        )
    try:
        value: object = json.loads(data, parse_constant=_refuse_constant)
        if b"\\u" in data:
            render(value)  # half of a surrogate pair is text to JSON, but to nothing that we send it to
    except (ValueError, RecursionError) as error:
        raise errors.Invalid(f"{what} is not valid JSON: {error}", reason="DOCUMENT_INVALID") from error
    return value


def render(value: object) -> bytes:
    """Return JSON in one fixed form: the same fields in the same order give the same bytes, hence the same digest."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _json_name(value: object) -> str:
    names = {str: "string", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
    return names.get(type(value), "null")
