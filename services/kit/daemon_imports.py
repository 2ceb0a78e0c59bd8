"""What libraries import for every daemon, and no daemon uses at rest: 3.5 MB of each.

Called before anything else is imported. Nothing here is needed first when things go wrong: an error that is logged, a
callback that is shown, a call that is answered find what they use.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Awaitable
from typing import Any

from services.kit import deferred

_CO_COROUTINE = 0x80
_CO_ITERABLE_COROUTINE = 0x100
_CO_ASYNC_GENERATOR = 0x200


def lean() -> None:
    """Leave out what is not needed, and import what would not do without otherwise."""
    deferred.defer("google.protobuf.internal.python_message")  # the implementation in C is used
    deferred.defer("typing_extensions", Self=getattr(typing, "Self", None), override=_override)
    deferred.defer(
        "inspect",
        isawaitable=_isawaitable,
        isasyncgenfunction=_isasyncgenfunction,
        iscoroutinefunction=_iscoroutinefunction,
        isfunction=_isfunction,
        unwrap=_unwrap,
    )
    with deferred.absent("ssl"):
        import asyncio  # noqa: F401 (TLS is gRPC's, which brings its own)
    for name in ("difflib", "ssl", "tarfile", "zstandard"):
        deferred.defer(name)


# What asyncio, grpc and we ask of each function that they call. For what is no plain function, `inspect` is executed.


def _isawaitable(value: object) -> bool:
    return isinstance(value, types.CoroutineType | Awaitable) or (
        isinstance(value, types.GeneratorType) and bool(value.gi_code.co_flags & _CO_ITERABLE_COROUTINE)
    )


def _iscoroutinefunction(value: object) -> bool:
    return _has_flag(value, _CO_COROUTINE, "iscoroutinefunction")


def _isasyncgenfunction(value: object) -> bool:
    return _has_flag(value, _CO_ASYNC_GENERATOR, "isasyncgenfunction")


def _has_flag(value: object, flag: int, name: str) -> bool:
    function = getattr(value, "__func__", value) if type(value) is types.MethodType else value
    if type(function) is types.FunctionType and not vars(function):
        return bool(function.__code__.co_flags & flag)
    return bool(getattr(deferred.load("inspect"), name)(value))


def _isfunction(value: object) -> bool:
    return isinstance(value, types.FunctionType)


def _unwrap(value: Any, **options: Any) -> Any:
    return deferred.load("inspect").unwrap(value, **options) if hasattr(value, "__wrapped__") else value


def _override(method: Any) -> Any:
    return method
