"""swarmctl service logs"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from beeyard.swarm.v1 import control_pb2 as pb
from cli import api, clock, complete, swarm_lists, terminal
from cli.command import command, with_session
from cli.commands.logs import OPTIONS, parse_tail
from cli.specs import times
from cli.specs.options import add, switch
from cli.views import node as node_view
from cli.views.values import short_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.session import Session


@command()
@add(
    [
        *OPTIONS,
        switch("--no-resolve", help="Do not map IDs to Names in output"),
        switch("--no-task-ids", help="Do not include task IDs in output"),
        switch("--no-trunc", help="Do not truncate output"),
        switch("--raw", help="Do not neatly format logs"),
    ]
)
@click.argument("target", metavar="SERVICE|TASK", shell_complete=complete.services)
@with_session
def logs(session: Session, target: str, since: str, tail: str, **given: Any) -> None:
    """Fetch the logs of a service or task, from all nodes."""
    request = pb.GetServiceLogsRequest(
        target=target,
        follow=given["follow"],
        since=times.parse(since, "--since", clock.now()) if since else None,
        tail=parse_tail(tail),
    )
    plain = given["raw"] or given["no_resolve"]
    names = {} if plain else {node.id: node_view.name(node) for node in swarm_lists.nodes(session)[0]}
    widest = 0
    for response in session.start(api.Logs.GetServiceLogs, request):
        if response.WhichOneof("item") == "gap":
            where = names.get(response.gap.node_id, response.gap.node_id)
            print(f"Warning: logs of {where} are missing: {response.gap.reason}", file=sys.stderr, flush=True)
            continue
        lines = response.lines
        prefix = ""
        if not given["raw"]:
            name = (
                lines.task_id
                if given["no_resolve"]
                else source(lines, names, ids=not given["no_task_ids"], full=given["no_trunc"])
            )
            widest = max(widest, len(name))
            prefix = f"{name:<{widest}}    | "
        detail = f"{attributes(lines)} " if given["details"] else ""
        for line in lines.lines:
            at = f"{times.rfc3339_nano(line.time)} " if given["timestamps"] else ""
            text = f"{at}{prefix}{detail}".encode() + line.data
            if prefix and not text.endswith(b"\n"):
                text += b"\n"  # half a line must not run into another task's
            terminal.write(terminal.STDERR if line.stderr else terminal.STDOUT, text)


def source(lines: pb.TaskLogLines, names: Mapping[str, str], *, ids: bool, full: bool) -> str:
    """Name where lines come from: "web.1.u2xz3n1x1k9z@worker-1"."""
    name = lines.task_name.removesuffix(f".{lines.task_id}")
    if ids:
        name = f"{name}.{short_id(lines.task_id, full=full)}"
    return f"{name}@{names.get(lines.node_id, short_id(lines.node_id, full=full))}"


def attributes(lines: pb.TaskLogLines) -> str:
    """What --details adds."""
    return f"com.docker.swarm.node.id={lines.node_id},com.docker.swarm.task.id={lines.task_id}"
