"""The command tree: complete, importable, and described."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click
import pytest

from cli import app, reference, tree
from cli.app import PROGRAM, LazyGroup
from cli.version import VERSION

ROOT = Path(__file__).parents[3]


def commands() -> list[tuple[str, click.Command]]:
    """Return every command of the tree with its words."""
    found: list[tuple[str, click.Command]] = []

    def walk(group: LazyGroup, words: tuple[str, ...]) -> None:
        for name in group.entries():
            command = group.get_command(click.Context(group), name)
            assert command is not None, f"{words} {name} is not there"
            if isinstance(command, LazyGroup):
                walk(command, (*words, name))
            else:
                found.append((" ".join((*words, name)), command))

    root = tree.root()
    assert isinstance(root, LazyGroup)
    walk(root, ())
    return found


COMMANDS = commands()


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[words for words, _ in COMMANDS])
def test_a_command_describes_itself(words: str, command: click.Command) -> None:
    help_text = command.get_help(click.Context(command, info_name=words))
    assert words in help_text
    assert command.help and command.help.splitlines()[0].endswith((".", "…")), "the first line is a sentence"
    names = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
    assert len(names) == len(set(names)), "an option is there twice"
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{param.opts} has no help"


def test_short_forms_are_the_long_ones() -> None:
    by_words = dict(COMMANDS)
    for short, long in {
        "ps": "container ls", "run": "container run", "images": "image ls", "rmi": "image rm", "pull": "image pull",
        "load": "image load", "events": "system events", "info": "system info", "tag": "image tag",
    }.items():  # fmt: skip
        assert by_words[short] is by_words[long]
    assert by_words["container list"] is by_words["container ps"] is by_words["container ls"]
    assert by_words["service remove"] is by_words["service rm"]


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["help", "container", "rm"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: {PROGRAM} container rm [OPTIONS] CONTAINER...")
    assert app.run(["help", "rm", "more"]) == 1
    assert capsys.readouterr().err == "Error: unknown help topic: rm more\n"


def test_docker_s_commands_are_there() -> None:
    words = {words for words, _ in COMMANDS}
    assert words >= {
        "attach", "create", "events", "exec", "history", "images", "import", "info", "inspect", "kill", "load",
        "logs", "pause", "port", "ps", "pull", "rename", "restart", "rm", "rmi", "run", "save", "start", "stop",
        "tag", "unpause", "version", "wait", "container prune", "image prune", "network create", "network connect",
        "network disconnect", "network prune", "network rm", "node ls", "node ps", "node promote", "node demote",
        "node update", "service create", "service update", "service logs", "service ps", "service scale",
        "service rollback", "secret create", "config create", "swarm init", "swarm join", "swarm join-token",
        "swarm leave", "swarm update", "system df", "context create", "context use", "context export",
    }  # fmt: skip


def test_the_reference_is_fresh() -> None:
    assert reference.PATH.read_text(encoding="utf-8") == reference.render(), (
        "docs/reference is not what the commands say: python -m cli.reference"
    )


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_the_program_is_called_what_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"][PROGRAM] == "cli.__main__:main"
