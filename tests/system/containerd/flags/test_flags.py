"""docs/reference/flags.md, walked: every example is given to swarmctl on a real node.

The page says of each flag what swarmctl does with it. Here it is compared with docker's flags and with those that
swarmctl has, and each example is run: what is marked `yes` has to work, and where it can be seen from inside a
container it has to be seen there, or else in what `inspect` shows; what is marked `refused` has to be refused by its
name.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import platform
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from cli import app
from cli.tree import root
from tests.system.containerd.flags import page
from tests.system.containerd.flags.docker import DOCKER
from tests.system.containerd.flags.page import Row
from tests.system.containerd.flags.seen import RECORDED, SEEN
from tests.system.containerd.node import Node, node
from tests.system.netd.world import node_and_client

pytestmark = [pytest.mark.root, pytest.mark.slow]

ROWS = page.read()
TAIL = {
    "update": "neighbour",
    "logs": "neighbour",
    "cp": "neighbour:/etc/passwd here",
    "volume inspect": "data",
    "volume rm": "spare",
}
"""What follows the example."""
HEAD = {
    "stats": "stats --no-stream",
    "events": "events --since 1h --until 0s",
    "volume prune": "volume prune -f",
}
"""What stands before it, where that is more than the command."""


def _command(name: str) -> click.Command:
    """Return a command of swarmctl by its words."""
    found: click.Command = root()
    context = click.Context(found)
    for word in name.split():
        assert isinstance(found, click.Group)
        step = found.get_command(context, word)
        assert step is not None, name
        found, context = step, click.Context(step, parent=context)
    return found


def _flags(name: str) -> set[str]:
    """Return the flags that a command of swarmctl has."""
    options = [option for option in _command(name).params if isinstance(option, click.Option)]
    return {flag for option in options for flag in option.opts} - {"--help"}


@pytest.mark.parametrize("name", sorted({row.command for row in ROWS}))
def test_every_flag_has_a_row(name: str) -> None:
    """The page has docker's flags and ours, and no others."""
    rows = [row for row in ROWS if row.command == name]
    written = {flag for row in rows for flag in row.flags}
    assert len(written) == sum(len(row.flags) for row in rows), "a flag has two rows"
    assert DOCKER[name] - written == set(), "flags of docker that are not on the page"
    assert written - DOCKER[name] == {flag for row in rows if row.word == "ours" for flag in row.flags}
    assert _flags(name) == written, "swarmctl and the page differ"


@dataclasses.dataclass(frozen=True)
class Desk:
    """A directory to call swarmctl from, and what the examples leave open."""

    directory: Path
    names: dict[str, str]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A node with what the examples name."""
    directory = Path(tempfile.mkdtemp(prefix="by-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        namespace, _client = stack.enter_context(node_and_client(directory))
        runner = stack.enter_context(asyncio.Runner())
        running = node(directory, namespace)
        made = runner.run(running.__aenter__())
        stack.callback(lambda: runner.run(running.__aexit__(None, None, None)))
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("BEEYARD_HOST", f"unix://{made.run}")
        yield _furnished(directory / "desk", made)


def _furnished(directory: Path, made: Node) -> Desk:
    directory.mkdir()
    (directory / "env.list").write_text("FROM_FILE=yes\n")
    (directory / "labels.list").write_text("a=b\n")
    for line in (
        "network create --subnet 10.213.7.0/24 own",
        "run -d --name neighbour --cpu-quota 90000 -p 127.0.0.1:18980:80 -v kept:/shared box sleep 600",
        "volume create data",
    ):
        assert app.run(shlex.split(line)) == 0, line
    disk = next(path for path in Path("/sys/block").iterdir() if not path.name.startswith(("loop", "ram")))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    names = {
        "disk": f"/dev/{disk.name}",
        "platform": f"linux/{machine}",
        "cgroup": f"{made.cgroup_parent}/flags",
        "runtime": "runc",
        "disk_number": (disk / "dev").read_text().strip(),
    }
    for kind in ("cgroup", "ipc", "user", "uts"):
        names[f"{kind}_namespace"] = os.readlink(f"/proc/self/ns/{kind}")
    return Desk(directory, names)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.example], ids=lambda row: f"{row.command} {row.long}"
)
def test_the_example_does_what_the_page_says(
    row: Row, desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It works, or is refused by the flag's name."""
    monkeypatch.chdir(desk.directory)
    example = row.example.format(**desk.names) if "{{" not in row.example else row.example
    capfd.readouterr()
    seen = SEEN.get(row.command, {}).get(row.long, "true").format(**desk.names)
    code = app.run(_line(row, example, seen))
    out, err = capfd.readouterr()
    if code == 0 and row.command == "update":
        assert app.run(["exec", "neighbour", "sh", "-c", seen]) == 0, "the running container has not changed"
    shown = _shown(row, out, capfd)
    _tidy(row, out)
    if code == 0 and row.command == "create" and row.long in RECORDED:
        path, wanted = RECORDED[row.long]
        for key in path.split("."):
            shown = shown[key]
        assert shown == wanted
    refused = row.word == "refused" or (row.word == "where it can" and code != 0)
    if refused:
        assert code != 0, out
        assert row.long.strip("-").replace("-", " ") in err.replace("-", " "), err
    else:
        assert code == 0, (out, err)


def test_the_events_of_all_daemons_are_one_story(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What imaged, netd and containerd tell comes in the order in which it happened."""
    monkeypatch.chdir(desk.directory)
    began = str(time.time())
    for line in (
        "network create told",
        "tag box told:1",
        "run --name told --network told told:1 true",
        "cp told:/bin/true true",
        "rm told",
        "rmi told:1",
        "network prune -f --filter label=none",
        "network rm told",
    ):
        assert app.run(shlex.split(line)) == 0, line
    capfd.readouterr()
    everything = ["events", "--since", began, "--until", "0s", "--format", "{{json .}}"]
    assert app.run(everything) == 0
    out, err = capfd.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [f"{event['Type']} {event['Action']}" for event in told] == [
        "network create",
        "image tag",
        "container create",
        "container attach",
        "network connect",
        "container start",
        "container die",
        "network disconnect",
        "container archive-path",
        "container destroy",
        "image untag",
        "network prune",
        "network destroy",
    ]
    assert [event["timeNano"] for event in told] == sorted(event["timeNano"] for event in told)
    container = next(event["id"] for event in told if event["Action"] == "start")
    assert {event["Actor"]["Attributes"]["container"] for event in told if "connect" in event["Action"]} == {
        container
    }
    assert app.run([*everything, "-f", "network=told", "-f", "event=connect"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 1


def _line(row: Row, example: str, seen: str) -> list[str]:
    match row.command:
        case "run":
            # what is to be started again is not to be removed
            rm = ["--name", "flagged"] if row.long == "--restart" else ["--rm"]
            return ["run", *rm, *shlex.split(example), "box", "sh", "-c", seen]
        case "create":
            return ["create", *shlex.split(example), "box", "true"]
        case "exec":
            return ["exec", *shlex.split(example), "neighbour", "sh", "-c", seen]
        case command:
            return shlex.split(f"{HEAD.get(command, command)} {example} {TAIL.get(command, '')}")


def _shown(row: Row, out: str, capfd: pytest.CaptureFixture[str]) -> Any:
    """Return what inspect says of the container of `create`."""
    if row.command != "create" or row.long not in RECORDED:
        return None
    assert app.run(["inspect", out.split()[-1]]) == 0
    return json.loads(capfd.readouterr().out)[0]


def _tidy(row: Row, out: str) -> None:
    """Remove what the example has made."""
    Path("id").unlink(missing_ok=True)
    if row.command == "create" and out.strip():
        assert app.run(["rm", "-f", "-v", out.split()[-1]]) == 0
    if row.command == "run" and row.long == "--restart":
        assert app.run(["rm", "-f", "flagged"]) == 0
    if row.command == "volume create" and out.strip():
        assert app.run(["volume", "rm", out.split()[-1]]) == 0
