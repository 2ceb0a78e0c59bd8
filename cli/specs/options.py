"""How long lists of options are written: one line each, in docker's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click
from click.core import ParameterSource

from cli.specs.values import INT64_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

F = TypeVar("F", bound="Callable[..., Any]")
Option: TypeAlias = "Callable[[Any], Any]"


class Whole(click.ParamType[int]):
    """A whole number within bounds. Help shows it as "int"; an error tells the bounds.

    Args:
        least: The smallest.
        most: The largest.
    """

    name = "int"

    def __init__(self, least: int = -INT64_MAX, most: int = INT64_MAX) -> None:
        self.least = least
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        number = click.INT.convert(value, param, ctx)
        if not self.least <= number <= self.most:
            self.fail(f"{value} is not between {self.least} and {self.most}", param, ctx)
        return int(number)


COUNT = Whole(0, INT64_MAX)
"""A number of things, as far as the protocol can say it."""


def add(options: Sequence[Option]) -> Callable[[F], F]:
    """Give a command these options, in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def text(*names: str, help: str, metavar: str = "string", default: str | None = "") -> Option:  # noqa: A002
    """An option with one value; empty if not given."""
    return click.option(*names, metavar=metavar, default=default, help=help)


def measure(*names: str, help: str, metavar: str = "bytes") -> Option:  # noqa: A002
    """An option with a size or a number; empty if not given. An empty value is none: it would lift a limit unseen."""

    def present(ctx: click.Context, param: click.Parameter, value: str) -> str:
        if not value and param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
            raise click.BadParameter("the value is empty", ctx, param)
        return value

    return click.option(*names, metavar=metavar, default="", callback=present, help=help)


def many(*names: str, help: str, metavar: str = "list") -> Option:  # noqa: A002
    """An option that may be given several times."""
    return click.option(*names, metavar=metavar, multiple=True, help=help)


def switch(*names: str, help: str, default: bool = False) -> Option:  # noqa: A002
    """An option without a value."""
    return click.option(*names, is_flag=True, default=default, help=help)


def number(*names: str, help: str, least: int | None = None, most: int | None = None) -> Option:  # noqa: A002
    """An option with a whole number; None if not given."""
    kind = Whole(-INT64_MAX if least is None else least, INT64_MAX if most is None else most)
    return click.option(*names, type=kind, metavar="int", default=None, help=help)
