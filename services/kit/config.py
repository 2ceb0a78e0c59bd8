"""TOML files into frozen dataclasses. Every mistake is an error that names the file, the line and the key."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

C = TypeVar("C")

FILE_BYTES_MAX = 1 << 20

_HEADER = re.compile(r"\s*\[+\s*(?P<path>[^\]]+?)\s*\]+")
_ASSIGNMENT = re.compile(
    r"""\s*(?P<path>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """The settings that every daemon has; a daemon's own config extends it."""

    root: Path = Path("/var/lib/beeyard")
    """State that survives a reboot; each daemon has a directory in it."""
    run: Path = Path("/run/beeyard")
    """Sockets and what concerns running processes."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = "auto"
    """auto, text, journal or json; auto is journal under systemd, else text."""
    metrics_listen: str = ""
    """host:port of the Prometheus endpoint; empty is none."""


def load(cls: type[C], path: Path | None, overrides: Mapping[str, object] | None = None) -> C:
    """Return a `cls` made of its defaults, the file at `path`, and `overrides`, the last one winning.

    Fields may be str, int, float, bool, Path, `Literal`, `tuple[X, ...]`, `dict[str, X]`, another dataclass (a table)
    or any of them `| None`. `cls.__post_init__` may check values and raise `errors.Invalid`, with metadata
    `{"key": "the.key"}` if it wants the line to be named.

    Args:
        cls: A frozen dataclass.
        path: The file; None is no file.
        overrides: Values of top-level keys, as from flags; None is "not given".

    Raises:
        errors.Invalid: Unknown key, wrong type, bad value, bad TOML: the message begins with file and line.
        errors.NotFound: There is no such file.
    """
    source = _Source(path)
    values = dict(source.values)
    values.update({key: value for key, value in (overrides or {}).items() if value is not None})
    try:
        return _table(cls, values, (), source)
    except errors.Invalid as exc:
        if exc.reason == "CONFIG_INVALID":
            raise
        key = tuple(exc.metadata.get("key", "").split("."))
        raise source.error(key, exc.message) from exc


class _Source:
    """A file's values, and where each stands."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self._text = ""
        if path is None:
            return
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise errors.Invalid(f"{path}: larger than {FILE_BYTES_MAX} bytes", reason="CONFIG_INVALID")
            self._text = path.read_text(encoding="utf-8")
            self.values = tomllib.loads(self._text)
        except FileNotFoundError:
            raise errors.NotFound(f"there is no config file {path}", reason="CONFIG_NOT_FOUND") from None
        except OSError as exc:
            raise errors.Invalid(f"cannot read {path}: {exc.strerror}", reason="CONFIG_INVALID") from exc
        except UnicodeDecodeError as exc:
            raise errors.Invalid(f"{path}: not UTF-8 text", reason="CONFIG_INVALID") from exc
        except tomllib.TOMLDecodeError as exc:
            line = re.search(r"\(at line (\d+), column \d+\)", str(exc))
            message = re.sub(r" \(at .*\)", "", str(exc))
            where = f"{path}:{line[1] if line else self._text.count(chr(10)) + 1}"
            raise errors.Invalid(f"{where}: {message}", reason="CONFIG_INVALID") from exc

    def error(self, key: tuple[str, ...], message: str) -> errors.Invalid:
        line = self._line(key)
        where = "" if self.path is None else f"{self.path}:{line}: " if line else f"{self.path}: "
        return errors.Invalid(
            where + message,
            reason="CONFIG_INVALID",
            metadata={"key": ".".join(key), **({"line": str(line)} if line else {})},
        )

    def _line(self, key: tuple[str, ...]) -> int | None:
        """Find the line of a key; of a table, the line of its header or of the first key in it."""
        if not any(key):
            return None
        table: tuple[str, ...] = ()
        for number, line in enumerate(self._text.splitlines(), start=1):
            if header := _HEADER.match(line):
                table = found = _key_path(header["path"])
            elif assignment := _ASSIGNMENT.match(line):
                found = (*table, *_key_path(assignment["path"]))
            else:
                continue
            if found[: len(key)] == key:
                return number
        return None


def _key_path(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _table(cls: type[C], values: Mapping[str, Any], key: tuple[str, ...], source: _Source) -> C:
    assert dataclasses.is_dataclass(cls), f"{cls} is not a dataclass"
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in values:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = (
                f", did you mean {_dotted((*key, close[0]))}?"
                if close
                else f"; known here: {', '.join(sorted(fields))}"
            )
            raise source.error((*key, name), f"unknown key {_dotted((*key, name))}{hint}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise source.error(key, f"key {_dotted((*key, name))} is missing")
    arguments = {name: _value(hints[name], value, (*key, name), source) for name, value in values.items()}
    return cls(**arguments)


def _value(hint: Any, value: Any, key: tuple[str, ...], source: _Source) -> Any:
    """Return `value` as `hint` wants it, or raise."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _value(hint, value, key, source)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _table(typing.cast("type[Any]", hint), value, key, source)
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], item, key, source) for item in value)
    if origin is dict and isinstance(value, dict):
        return {name: _value(arguments[1], item, (*key, name), source) for name, item in value.items()}
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is None and isinstance(hint, type) and type(value) is hint:
        return value
    raise source.error(key, f"{_dotted(key)} must be {_described(hint)}, not {value!r}")


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is tuple:
        return f"a list, each item {_described(arguments[0])}"
    if origin is dict or dataclasses.is_dataclass(hint):
        return "a table"
    names = {str: "a string", Path: "a path", int: "an integer", float: "a number", bool: "true or false"}
    return names.get(hint, str(hint))


def _dotted(key: tuple[str, ...]) -> str:
    return repr(".".join(key))
