"""Structured logging: an event name and key=value pairs, with what the context has bound.

    _log = log.get(__name__)
    _log.info("layer_unpacked", digest=digest, duration_ms=12)
    with log.context(request_id=request_id): ...  # every event inside carries it, those of tasks started there too

Events are snake_case words, durations end in `_ms`, sizes in `_bytes`. An error is logged once: where it is dropped or
at the border. Built on the standard `logging`, so that what libraries log comes out in the same form.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TextIO

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VALUE_CHARS_MAX = 4096
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "text", "journal", "json")

_EMPTY: Mapping[str, object] = {}
_bound: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar("log_fields", default=_EMPTY)
_SYSLOG_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class Logger:
    """Writes events under one name. Made by `get`."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: object) -> None:
        """Log what only somebody who looks for a fault wants to see."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Log a change of state that an operator may want to see."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Log what is not as it should be, and is being handled."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Log a failure that is dropped here."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """Log a failure with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def failure(self, event: str, exc: BaseException, /, **fields: object) -> None:
        """Log a failure with the traceback of an exception at hand, as a task's."""
        self._log(logging.ERROR, event, fields, exc_info=exc)

    def is_enabled(self, level: str) -> bool:
        """Return whether events of `level` are written: to guard fields that are dear to compute."""
        return self._logger.isEnabledFor(_level_number(level))

    def _log(
        self,
        level: int,
        event: str,
        fields: Mapping[str, object],
        exc_info: BaseException | bool | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            merged = {**_bound.get(), **fields}
            self._logger.log(level, event, exc_info=exc_info, extra={"fields": merged}, stacklevel=3)


def get(name: str) -> Logger:
    """Return the logger for a module; `name` is its `__name__`."""
    return Logger(logging.getLogger(name))


@contextlib.contextmanager
def context(**fields: object) -> Iterator[None]:
    """Add fields to every event that this task, and tasks it starts, log inside the block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bind(**fields: object) -> None:
    """Add fields to every later event of this task: for tasks that serve one thing from start to end."""
    _bound.set({**_bound.get(), **fields})


def bound(field: str) -> object | None:
    """Return what the context has bound to `field`."""
    return _bound.get().get(field)


def setup(level: str, fmt: str, *, stream: TextIO | None = None) -> None:
    """Send the process's log to stderr (or `stream`). Called once, by the daemon runner.

    Args:
        level: One of `LEVELS`.
        fmt: "text" (time, level, event, key=value), "journal" (the same, with a syslog priority in place of time and
            level), "json" (an object a line), or "auto": "journal" if stderr is connected to the journal, else "text".
        stream: Where to write.

    Raises:
        errors.Invalid: The level or the format is unknown.
    """
    number = _level_number(level)
    if fmt not in FORMATS:
        raise errors.Invalid(f"unknown log format {fmt!r}: use one of {', '.join(FORMATS)}")
    if fmt == "auto":
        fmt = "journal" if _stderr_is_journal() else "text"
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if fmt == "json" else _TextFormatter("journal" if fmt == "journal" else "text")
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    logging.captureWarnings(True)
    logging.getLogger("asyncio").setLevel(max(number, logging.WARNING))
    logging.getLogger("grpc").setLevel(max(number, logging.WARNING))


class _TextFormatter(logging.Formatter):
    def __init__(self, form: Literal["text", "journal"]) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {key}={_render_value(value)}" for key, value in _fields(record).items())
        if self._form == "journal":
            head = f"<{_SYSLOG_PRIORITY.get(record.levelname, 6)}>{_name(record)}:"
        else:
            head = f"{_time(record)} {record.levelname:<7} {_name(record)}:"
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        indented = "".join(f"\n    {line}" for line in trace.splitlines())
        return f"{head} {_event(record)}{pairs}{indented}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": _name(record),
            "event": record.getMessage()[:VALUE_CHARS_MAX],
        }
        for key, value in _fields(record).items():
            entry[f"field_{key}" if key in entry else key] = _json_value(value)
        if record.exc_info and record.exc_info[0]:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)  # ASCII: some readers take U+2028 for the end of a line


def _level_number(level: str) -> int:
    if level not in LEVELS:
        raise errors.Invalid(f"unknown log level {level!r}: use one of {', '.join(LEVELS)}")
    return logging.getLevelNamesMapping()[level.upper()]


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", _EMPTY)
    return fields


def _name(record: logging.LogRecord) -> str:
    return record.name.removeprefix("services.")


def _event(record: logging.LogRecord) -> str:
    # Our events are one word and pass unchanged; a library's sentence is quoted where it would break the line.
    message = record.getMessage()[:VALUE_CHARS_MAX]
    return message if message.isprintable() else json.dumps(message)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _text(value: object) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}…({len(text)} characters)"


def _render_value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = _text(value)
    if text and text.isprintable() and not any(c in ' "=' for c in text):
        return text
    # json.dumps escapes every control character: what a client sent can never start a line of its own.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _json_value(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else _text(value)


def _stderr_is_journal() -> bool:
    # systemd sets JOURNAL_STREAM=device:inode; children with a redirected stderr inherit the variable, not the stream.
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"
