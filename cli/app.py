"""The command tree. Commands are named here and imported when called, so that each call pays only for itself."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from cli import errors as cli_errors
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from click.shell_completion import CompletionItem

PROGRAM = "swarmctl"
SETTINGS = {"help_option_names": ["--help"], "max_content_width": 110}
COMPLETE = "_SWARMCTL_COMPLETE"
"""Environment variable by which a shell asks for completions."""
DEBUG = "BEEYARD_DEBUG"
"""Environment variable: any value shows tracebacks."""


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported when one is called.

    `lazy` maps a command's name to ("module:attribute", short help); an empty help hides it from lists (aliases).
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy)

    def entries(self) -> dict[str, tuple[str, str]]:
        """Return what the group has, by name: where the command is, and its short help."""
        return dict(sorted(self._lazy.items()))

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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands without importing them; options as any command does."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=text)
            for name, (_, text) in sorted(self._lazy.items())
            if text and name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

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
    if COMPLETE in os.environ:
        command.main(list(arguments), prog_name=PROGRAM, complete_var=COMPLETE)
    try:
        with command.make_context(PROGRAM, list(arguments)) as context:
            result = command.invoke(context)
    except cli_errors.ExitWith as exc:
        return exc.code
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return 0
    except click.ClickException as exc:
        exc.show()
        return cli_errors.EXIT_ENGINE if exc.exit_code == cli_errors.EXIT_ENGINE else cli_errors.EXIT_FAILED
    except (click.Abort, KeyboardInterrupt):
        return cli_errors.EXIT_INTERRUPTED
    except cli_errors.ContainerFailed as exc:
        _complain(exc.error)
        return exc.code
    except errors.BeeyardError as exc:
        _complain(exc)
        return cli_errors.EXIT_FAILED
    except OSError as exc:
        return exit_code_of(exc)
    except Exception as exc:  # noqa: BLE001 (the border: a fault of ours must not look like a crash)
        _report_fault(exc)
        return cli_errors.EXIT_FAILED
    return result if isinstance(result, int) else 0


def exit_code_of(exc: OSError) -> int:
    """Say what the machine refused, and return the exit code; a reader that left is no error to speak of."""
    if isinstance(exc, BrokenPipeError):
        return cli_errors.EXIT_BROKEN_PIPE
    named = f"{exc.filename}: " if exc.filename else ""
    print(f"Error: {named}{exc.strerror or exc}", file=sys.stderr)
    if os.environ.get(DEBUG):
        _print_traceback(exc)
    return cli_errors.EXIT_FAILED


def _complain(error: errors.BeeyardError) -> None:
    print(cli_errors.render_error(error), file=sys.stderr)
    if os.environ.get(DEBUG):
        _print_traceback(error)


def _report_fault(exc: Exception) -> None:
    """Say that the program is at fault, in a form that is useful in a report."""
    where = exc.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" ({where.tb_frame.f_code.co_filename}:{where.tb_lineno})" if where is not None else ""
    print(f"Error: a fault in {PROGRAM} itself: {type(exc).__name__}: {exc}{place}", file=sys.stderr)
    if os.environ.get(DEBUG):
        _print_traceback(exc)
    else:
        print(f"Set {DEBUG}=1 for the whole traceback.", file=sys.stderr)


def _print_traceback(exc: Exception) -> None:
    import traceback

    traceback.print_exception(exc)
