"""swarmctl node …"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beeyard.swarm.v1 import control_pb2 as pb
from beeyard.swarm.v1 import objects_pb2 as objects
from cli import api, clock, complete, swarm_lists
from cli.command import (
    command,
    filter_option,
    for_each,
    format_option,
    inspect_format_option,
    no_trunc_option,
    parse_filters,
    quiet_option,
    with_session,
)
from cli.format import output
from cli.views import node as view
from cli.views import task as task_view
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.session import Session

WRITE_TIMEOUT_S = 30.0
RETRIES_MAX = 5
_AVAILABILITIES = {
    "active": objects.NODE_AVAILABILITY_ACTIVE,
    "pause": objects.NODE_AVAILABILITY_PAUSE,
    "drain": objects.NODE_AVAILABILITY_DRAIN,
}
_ROLES = {"manager": objects.NODE_ROLE_MANAGER, "worker": objects.NODE_ROLE_WORKER}


def get(session: Session, node: str) -> objects.Node:
    """Read one node; "self" is the one that --node names, if it does.

    Raises:
        errors.NotFound: NODE_NOT_FOUND.
    """
    node = session.node if node == "self" and session.node else node
    response = session.call(
        api.Nodes.GetNode, pb.GetNodeRequest(node=node), timeout_s=swarm_lists.READ_TIMEOUT_S
    )
    swarm_lists.warn_stale(response.stale)
    return response.node


def _change(session: Session, node: str, change: Callable[[objects.NodeSpec], None]) -> objects.Node:
    """Read, change and write a node's spec; again if somebody else was quicker."""
    for attempt in range(RETRIES_MAX):
        found = get(session, node)
        spec = objects.NodeSpec()
        spec.CopyFrom(found.spec)
        change(spec)
        request = pb.UpdateNodeRequest(node=found.id, version=found.meta.version, spec=spec)
        try:
            return session.call(api.Nodes.UpdateNode, request, timeout_s=WRITE_TIMEOUT_S).node
        except errors.Conflict:
            if attempt == RETRIES_MAX - 1:
                raise
    raise AssertionError("unreachable")


@command()
@filter_option
@format_option
@quiet_option
@with_session
def ls(session: Session, filters: tuple[str, ...], style: str, *, quiet: bool) -> None:
    """List nodes in the swarm."""
    nodes, self_id = swarm_lists.nodes(session, parse_filters(filters))
    rows = [view.row(node, self_id) for node in nodes]
    output.print_rows(
        rows, style=style, default=view.DEFAULT, headers=view.HEADERS, quiet_field="ID" if quiet else ""
    )


@command()
@inspect_format_option
@click.option("--pretty", is_flag=True, help="Print the information in a human friendly format")
@click.argument("nodes", metavar="self|NODE...", nargs=-1, required=True, shell_complete=complete.nodes)
@with_session
def inspect(session: Session, style: str, nodes: tuple[str, ...], *, pretty: bool) -> int:
    """Display detailed information on one or more nodes."""
    found: list[objects.Node] = []

    def look(name: str) -> None:
        found.append(get(session, name))

    code = for_each(nodes, look)
    if pretty:
        print("\n\n".join(view.pretty(node) for node in found))
    else:
        output.print_inspect([view.inspect(node) for node in found], style)
    return code


@command()
@filter_option
@format_option
@quiet_option
@no_trunc_option
@click.option("--no-resolve", is_flag=True, help="Do not map IDs to Names")
@click.argument("nodes", metavar="[NODE...]", nargs=-1, shell_complete=complete.nodes)
@with_session
def ps(
    session: Session,
    filters: tuple[str, ...],
    style: str,
    nodes: tuple[str, ...],
    *,
    quiet: bool,
    no_trunc: bool,
    no_resolve: bool,
) -> None:
    """List tasks running on one or more nodes, defaults to current node."""
    chosen = [get(session, name).id for name in nodes or ("self",)]
    tasks = swarm_lists.tasks(session, {**parse_filters(filters), "node": chosen})
    known, _ = swarm_lists.nodes(session)
    rows = task_view.rows(
        tasks,
        {node.id: node for node in known},
        now=clock.now(),
        full=no_trunc,
        resolve=not no_resolve,
        indent=not style,
    )
    output.print_rows(
        rows,
        style=style,
        default=task_view.DEFAULT,
        headers=task_view.HEADERS,
        quiet_field="ID" if quiet else "",
    )


@command()
@click.option(
    "--availability", type=click.Choice(["active", "pause", "drain"]), help="Availability of the node"
)
@click.option("--label-add", multiple=True, metavar="list", help="Add or update a node label (key=value)")
@click.option("--label-rm", multiple=True, metavar="list", help="Remove a node label if exists")
@click.option("--role", type=click.Choice(["worker", "manager"]), help="Role of the node")
@click.argument("node", metavar="NODE", shell_complete=complete.nodes)
@with_session
def update(
    session: Session,
    availability: str | None,
    label_add: tuple[str, ...],
    label_rm: tuple[str, ...],
    role: str | None,
    node: str,
) -> None:
    """Update a node."""

    def change(spec: objects.NodeSpec) -> None:
        if availability:
            spec.availability = _AVAILABILITIES[availability]
        if role:
            spec.role = _ROLES[role]
        for label in label_add:
            key, _, value = label.partition("=")
            if not key:
                raise click.UsageError(f"invalid label {label!r}: give key=value")
            spec.annotations.labels[key] = value
        for key in label_rm:
            spec.annotations.labels.pop(key, None)

    _change(session, node, change)
    print(node)


def _role_command(name: str, role: objects.NodeRole.ValueType, done: str, already: str) -> click.Command:
    @command(name, help=f"{name.capitalize()} one or more nodes.")
    @click.argument("nodes", metavar="NODE...", nargs=-1, required=True, shell_complete=complete.nodes)
    @with_session
    def change_role(session: Session, nodes: tuple[str, ...]) -> int:
        def change(spec: objects.NodeSpec) -> None:
            spec.role = role

        def act(node: str) -> str:
            if get(session, node).spec.role == role:
                return f"Node {node} is already {already}."
            _change(session, node, change)
            return f"Node {node} {done} in the swarm."

        return for_each(nodes, act)

    return change_role


promote = _role_command("promote", objects.NODE_ROLE_MANAGER, "promoted to a manager", "a manager")
demote = _role_command("demote", objects.NODE_ROLE_WORKER, "demoted", "a worker")


@command()
@click.option("-f", "--force", is_flag=True, help="Force remove a node from the swarm")
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True, shell_complete=complete.nodes)
@with_session
def rm(session: Session, nodes: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more nodes from the swarm."""

    def remove(node: str) -> str:
        session.call(
            api.Nodes.RemoveNode, pb.RemoveNodeRequest(node=node, force=force), timeout_s=WRITE_TIMEOUT_S
        )
        return node

    return for_each(nodes, remove)
