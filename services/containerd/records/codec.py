"""Dataclasses of the model to JSON and back.

Written for records that outlive versions of the program: a field that is missing gets its default, one that is unknown
is ignored. Nothing is executed by reading. Supported are the types that the model uses, and no others: str, int, float,
bool, bytes, datetime, enums, tuples, string mappings, optional values and nested dataclasses.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")


def encode(value: object) -> Any:
    """Return what `json.dumps` takes. Fields that have their default are left out."""
    match value:
        case Enum():
            return value.value
        case None | str() | bool() | int() | float():
            return value
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case datetime():
            return value.isoformat()
        case tuple():
            return [encode(item) for item in value]
        case Mapping():
            return {key: encode(item) for key, item in value.items()}
        case _:
            assert dataclasses.is_dataclass(value), f"{type(value)} is not a type of the model"
            return {
                field.name: encode(item)
                for field in dataclasses.fields(value)
                if (item := getattr(value, field.name)) != _default(field)
            }


def decode(kind: type[T], data: object) -> T:
    """Return a value of a dataclass from what `encode` made of one.

    Raises:
        ValueError, TypeError, KeyError: The data is not that.
    """
    result: T = _decode(kind, data)
    return result


def _decode(kind: Any, data: Any) -> Any:
    if data is None:
        return None
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in typing.get_args(kind) if argument is not type(None))
        return _decode(inner, data)
    if origin is tuple:
        (item, _) = typing.get_args(kind)
        return tuple(_decode(item, element) for element in data)
    if origin is Mapping:
        (_, item) = typing.get_args(kind)
        return {str(key): _decode(item, element) for key, element in data.items()}
    return _decode_plain(kind, data)


def _decode_plain(kind: Any, data: Any) -> Any:
    hints = _hints(kind)
    if hints is not None:
        return kind(**{name: _decode(hints[name], data[name]) for name in hints if name in data})
    if kind is bytes:
        return base64.b64decode(data)
    if kind is datetime:
        return datetime.fromisoformat(data)
    if issubclass(kind, Enum) or kind is float:
        return kind(data)
    if type(data) is not kind:
        raise TypeError(f"{data!r} is no {kind.__name__}")
    return data


@functools.cache
def _hints(kind: Any) -> dict[str, Any] | None:
    """Return the types of a dataclass's fields, None for any other type."""
    return typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else None


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING
