"""The command tree. Commands are named here and imported when called, so that each call pays only for itself."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from cli import errors as cli_errors
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAM = "swarmctl"
SETTINGS = {"help_option_names": ["--help"], "max_content_width": 110}
RUNS_CONTAINER = frozenset({"run", "create", "exec"})
"""Commands whose own failures are 125, so that the container's codes can be told apart."""


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported when one is called.

    `lazy` maps a command's name to ("module:attribute", short help); an empty help hides it from lists (aliases).
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, sorted."""
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        rows = [(name, self._lazy[name][1]) for name in self.list_commands(ctx) if name in self._lazy]
        rows = [row for row in rows if row[1]]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. What goes wrong is printed here, once."""
    from cli.tree import root

    command = root()
    words = [word for word in arguments if not word.startswith("-")]
    runs_container = any(word in RUNS_CONTAINER for word in words[:3])
    try:
        result = command.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except cli_errors.ExitWith as exc:
        return exc.code
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return cli_errors.EXIT_USAGE if runs_container else cli_errors.EXIT_FAILED
    except (click.Abort, KeyboardInterrupt):
        return 130
    except errors.BeeyardError as exc:
        print(cli_errors.render_error(exc), file=sys.stderr)
        return cli_errors.exit_code(exc, runs_container=runs_container)
    except BrokenPipeError:
        return 141
    return result if isinstance(result, int) else 0
