"""swarmctl completion"""

from __future__ import annotations

import click

from cli.app import COMPLETE, PROGRAM
from cli.command import command

_NOTES = {
    "bash": "# For this shell: source <(swarmctl completion bash)\n"
    "# For all: swarmctl completion bash >/etc/bash_completion.d/swarmctl\n",
    "zsh": "# For this shell: source <(swarmctl completion zsh)\n"
    '# For all: swarmctl completion zsh >"${fpath[1]}/_swarmctl"\n',
    "fish": "# For all: swarmctl completion fish >~/.config/fish/completions/swarmctl.fish\n",
}


@command()
@click.argument("shell", metavar="SHELL", type=click.Choice(list(_NOTES)))
def completion(shell: str) -> None:
    """Print the completion script for a shell: bash, zsh or fish.

    For the current bash: source <(swarmctl completion bash)
    """
    from click.shell_completion import get_completion_class

    from cli.tree import root

    kind = get_completion_class(shell)
    assert kind is not None, f"click knows {shell}"
    script = kind(root(), {}, PROGRAM, COMPLETE).source()
    first, newline, rest = script.partition("\n")
    if shell == "zsh":  # whose first line must stay the first
        click.echo(f"{first}{newline}{_NOTES[shell]}{rest}")
    else:
        click.echo(f"{_NOTES[shell]}{script}")
