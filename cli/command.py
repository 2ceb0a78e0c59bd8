"""How commands are written: async functions that get a Session, with docker's conventions for options."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")


def with_session(function: Callable[..., Awaitable[T]]) -> Callable[..., T]:
    """Give the command a Session as its first argument, run it on a loop of its own, and close what it opened."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> T:
        import asyncio

        options = click.get_current_context().find_root().obj

        async def body() -> T:
            session = options()
            try:
                return await function(session, *args, **kwargs)
            finally:
                await session.close()

        return asyncio.run(body())

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


async def for_each(names: Sequence[str], action: Callable[[str], Awaitable[str | None]]) -> int:
    """Do one thing to many objects: print each result or error, go on, and return 1 if any failed, as docker does."""
    import sys

    from cli.errors import render_error
    from services.kit import errors

    failed = 0
    for name in names:
        try:
            text = await action(name)
        except errors.BeeyardError as exc:
            failed = 1
            print(render_error(exc), file=sys.stderr)
        else:
            if text:
                print(text)
    return failed
