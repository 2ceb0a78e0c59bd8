"""How commands are written: functions that get a Session, with docker's conventions for options."""

from __future__ import annotations

import functools
import gc
import itertools
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli import flags
from cli.errors import EXIT_ENGINE, UNREACHABLE, ContainerFailed, render_error
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cli.transport.call import Call
T = TypeVar("T")
Response = TypeVar("Response")
F = TypeVar("F", bound="Callable[..., Any]")

AT_ONCE_MAX = 50
"""Calls that one command has in progress: `rm` of a thousand containers is no storm."""


class ContainerUsageError(click.UsageError):
    """A wrong command line of a command that runs a container."""

    exit_code = EXIT_ENGINE


class Command(click.Command):
    """A command that takes switches and old option names as docker does.

    Args:
        aliases: Old names of options, to the names that help shows: {"--net": "--network"}.
        failure_code: Exit code of its own failures, to be told from those of a container that it runs. With one, 126
            and 127 are those of a process that could not be started.
    """

    def __init__(
        self,
        *args: Any,
        aliases: Mapping[str, str] | None = None,
        failure_code: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._aliases = aliases or {}
        self._failure_code = failure_code

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Translate, then parse."""
        try:
            translated = flags.normalise(
                args, self._switches(ctx), self._aliases, interspersed=ctx.allow_interspersed_args
            )
            return super().parse_args(ctx, translated)
        except flags.FlagError as exc:
            raise self._marked(click.UsageError(f"invalid argument {exc}", ctx)) from None
        except click.UsageError as exc:
            raise self._marked(exc) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except click.UsageError as exc:
            raise self._marked(exc) from None
        except errors.BeeyardError as exc:
            if self._failure_code:
                raise ContainerFailed(exc, self._failure_code) from exc
            raise

    def _marked(self, error: click.UsageError) -> click.UsageError:
        if self._failure_code != EXIT_ENGINE:
            return error
        return ContainerUsageError(error.format_message(), error.ctx)

    def _switches(self, ctx: click.Context) -> dict[str, flags.Switch]:
        return {
            name: flags.Switch(
                on=option.opts[-1], off=option.secondary_opts[-1] if option.secondary_opts else ""
            )
            for option in self.get_params(ctx)
            if isinstance(option, click.Option) and option.is_flag
            for name in option.opts
        }


def command(
    name: str | None = None, *, positional_ends_options: bool = False, **attributes: Any
) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function.

    Args:
        name: Its name, if it is not the function's.
        positional_ends_options: What follows the first argument is another program's command line.
        attributes: Of `Command`.
    """
    settings = {"allow_interspersed_args": not positional_ends_options}
    return click.command(name, cls=Command, context_settings=settings, **attributes)


def with_session(function: Callable[..., T]) -> Callable[..., T]:
    """Give the command a Session as its first argument, and close it afterwards."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> T:
        session = click.get_current_context().find_root().obj()
        gc.freeze()  # what is there stays to the end
        gc.enable()
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
    *,
    forgive: tuple[type[errors.BeeyardError], ...] = (),
) -> int:
    """Do one thing to many objects, up to `AT_ONCE_MAX` of them together; print in the order of the names.

    Args:
        names: The objects.
        begin: Starts the call for one.
        finish: Returns what to print of the response; without it the name is printed.
        forgive: Errors that are told, but leave the exit code.

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
        try:
            response = call.result()
        except forgive as exc:
            print(render_error(exc), file=sys.stderr)
            return None
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
