"""How commands are written: functions that get a Session, with docker's conventions for options."""

from __future__ import annotations

import functools
import itertools
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.errors import UNREACHABLE, render_error
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cli.transport.call import Call
T = TypeVar("T")
Response = TypeVar("Response")
F = TypeVar("F", bound="Callable[..., Any]")

AT_ONCE_MAX = 50
"""Calls that one command has in progress: `rm` of a thousand containers is no storm."""


def with_session(function: Callable[..., T]) -> Callable[..., T]:
    """Give the command a Session as its first argument, and close it afterwards."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> T:
        session = click.get_current_context().find_root().obj()
        try:
            return function(session, *args, **kwargs)
        finally:
            session.close()

    return run


def format_option(function: F) -> F:
    """--format of a list."""
    return click.option(
        "--format",
        "style",
        metavar="string",
        default="",
        help="'table', 'table TEMPLATE', 'json', or a Go template",
    )(function)


def inspect_format_option(function: F) -> F:
    """-f, --format of an inspect."""
    return click.option(
        "-f", "--format", "style", metavar="string", default="", help="'json' or a Go template"
    )(function)


def filter_option(function: F) -> F:
    """-f, --filter of a list."""
    return click.option(
        "-f", "--filter", "filters", metavar="filter", multiple=True, help="Filter output by key=value"
    )(function)


def quiet_option(function: F) -> F:
    """-q, --quiet of a list."""
    return click.option("-q", "--quiet", is_flag=True, help="Only display IDs")(function)


def no_trunc_option(function: F) -> F:
    """--no-trunc of a list."""
    return click.option("--no-trunc", is_flag=True, help="Do not truncate output")(function)


def parse_filters(given: Sequence[str]) -> dict[str, list[str]]:
    """Read --filter values: values of one key are alternatives.

    Raises:
        click.UsageError: A value has no key.
    """
    filters: dict[str, list[str]] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise click.UsageError(f"invalid filter {text!r}: give key=value")
        negated = key.endswith("!")
        filters.setdefault(f"{key[:-1].strip().lower()}!" if negated else key.strip().lower(), []).append(
            value
        )
    return filters


def for_each(names: Sequence[str], action: Callable[[str], str | None]) -> int:
    """Do one thing to many objects: print each result or error, go on, and return 1 if any failed, as docker does.

    Raises:
        errors.BeeyardError: The daemon is out of reach: nothing would be different for the next.
    """
    return sum(_report(functools.partial(action, name)) for name in names) and 1


def for_each_at_once(
    names: Sequence[str],
    begin: Callable[[str], Call[Any, Response]],
    finish: Callable[[str, Response], str | None] | None = None,
) -> int:
    """Do one thing to many objects, up to `AT_ONCE_MAX` of them together; print in the order of the names.

    Args:
        names: The objects.
        begin: Starts the call for one.
        finish: Returns what to print of the response; without it the name is printed.

    Raises:
        errors.BeeyardError: As in `for_each`.
    """
    rest = iter(names)
    begun: deque[tuple[str, Call[Any, Response]]] = deque()

    def begin_more() -> None:
        for name in itertools.islice(rest, AT_ONCE_MAX - len(begun)):
            begun.append((name, begin(name)))

    def end_first() -> str | None:
        name, call = begun.popleft()
        response = call.result()
        return name if finish is None else finish(name, response)

    failed = 0
    begin_more()
    while begun:
        failed |= _report(end_first)
        begin_more()
    return failed


def _report(action: Callable[[], str | None]) -> int:
    """Print the result of an action or its error; return 1 if it failed."""
    try:
        text = action()
    except errors.BeeyardError as exc:
        if exc.reason in UNREACHABLE:
            raise
        print(render_error(exc), file=sys.stderr)
        return 1
    if text:
        print(text)
    return 0
