"""The reference of the command line, written from the tree itself: `python -m cli.reference` rewrites it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.app import PROGRAM, LazyGroup
from cli.tree import root

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = Path(__file__).parents[1] / "docs" / "reference" / "swarmctl.md"
HEAD = """\
# swarmctl

Written by `python -m cli.reference` from the commands themselves; change them, not this page. Names, flags and output
follow docker's, so that `alias docker=swarmctl` works. A switch takes a value as docker's do (`--rm=true`,
`--sig-proxy=false`), `--format` takes `json`, `table TEMPLATE` or a Go template, and options of `run`, `create`, `exec`
and `service create` end at the first argument.

**Where it acts.** `--host`, `--context`, `BEEYARD_HOST`, `BEEYARD_CONTEXT`, the context that `context use` chose, and
last the sockets in /run/beeyard: the first that is set. `unix:///DIR` is a directory of sockets, `tcp://A:2377,B:2377`
are managers, tried in turn, with the client certificate in `BEEYARD_CERT_PATH` (ca.pem, cert.pem, key.pem) or in the
context. `--node NAME` acts on another node of the swarm, through its managers.

**Exit codes.** 0, 1 for a failure, 130 when interrupted, 141 when the reader of the output left. `run` and `create`:
125 if the engine or the command line is at fault, 126 if the program cannot be executed, 127 if it is not there, else
the container's own; a container killed by signal n gives 128+n.

**Environment.** `BEEYARD_CONFIG` is the directory of contexts (~/.config/beeyard), `BEEYARD_DEBUG` shows tracebacks.

**Completion.** `source <(swarmctl completion bash)`, likewise zsh; `swarmctl completion fish` prints a file for fish.
"""


def render() -> str:
    """Return the whole page."""
    command = root()
    context = click.Context(command, info_name=PROGRAM)
    sections = [HEAD, *_command(command, context, ())]
    return "\n".join(sections)


def _command(command: click.Command, context: click.Context, path: tuple[str, ...]) -> Iterator[str]:
    """Describe a command and what is below it. A short form is described where its long form is."""
    title = " ".join((PROGRAM, *path))
    if path:
        yield f"## {title}\n"
    else:
        yield "## Global options\n"
    yield f"{(command.help or '').strip().splitlines()[0] if command.help else ''}\n"
    arguments = " ".join(
        param.make_metavar(context) for param in command.params if isinstance(param, click.Argument)
    )
    if path and not isinstance(command, click.Group):
        yield f"    {title} [OPTIONS] {arguments}".rstrip() + "\n"
    options = [
        f"| `{'`, `'.join(sorted((*option.opts, *option.secondary_opts), key=_short_first))}` | "
        f"{_value(option)} | {_cell(option.help or '')} |"
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    if options:
        yield "\n".join(["| option | value | |", "| --- | --- | --- |", *options]) + "\n"
    if isinstance(command, LazyGroup):
        yield from _group(command, context, path)


def _group(command: LazyGroup, context: click.Context, path: tuple[str, ...]) -> Iterator[str]:
    entries = command.entries()
    groups = {
        name: found for name in entries if isinstance(found := command.get_command(context, name), LazyGroup)
    }
    below = {
        target: f"{group} {name}"
        for group, found in groups.items()
        for name, (target, text) in found.entries().items()
        if text
    }
    rows = []
    for name, (target, text) in entries.items():
        if not text:
            continue
        also = below.get(target)
        rows.append(
            f"| `{' '.join((PROGRAM, *path, name))}` | {_cell(text)}{f' (`{also}`)' if also else ''} |"
        )
    if rows:
        yield "\n".join(["| command | |", "| --- | --- |", *rows]) + "\n"
    for name, (target, text) in entries.items():
        if text and target not in below:
            found = command.get_command(context, name)
            assert found is not None
            yield from _command(found, click.Context(found, info_name=name, parent=context), (*path, name))


def _short_first(name: str) -> tuple[bool, str]:
    return name.startswith("--"), name


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return _cell("|".join(map(str, option.type.choices)))
    return _cell(option.metavar or "int")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write the page."""
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
