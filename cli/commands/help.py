"""swarmctl help"""

from __future__ import annotations

import click

from cli.command import command
from cli.errors import invalid


@command("help")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command, as its --help does."""
    shown = ctx.find_root()
    for word in words:
        group = shown.command
        found = group.get_command(shown, word) if isinstance(group, click.Group) else None
        if found is None:
            raise invalid(f"unknown help topic: {' '.join(words)}")
        shown = click.Context(found, info_name=word, parent=shown)
    click.echo(shown.get_help())
