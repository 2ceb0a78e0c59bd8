"""swarmctl service …: looking at services and removing them; what changes them has modules of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beeyard.swarm.v1 import control_pb2 as pb
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
from cli.commands import service_change
from cli.format import output
from cli.views import service as view
from cli.views import task as task_view

if TYPE_CHECKING:
    from cli.session import Session


@command()
@filter_option
@format_option
@quiet_option
@with_session
def ls(session: Session, filters: tuple[str, ...], style: str, *, quiet: bool) -> None:
    """List services."""
    found = swarm_lists.services(session, parse_filters(filters))
    rows = [view.row(entry) for entry in found]
    output.print_rows(
        rows, style=style, default=view.DEFAULT, headers=view.HEADERS, quiet_field="ID" if quiet else ""
    )


@command()
@filter_option
@format_option
@quiet_option
@no_trunc_option
@click.option("--no-resolve", is_flag=True, help="Do not map IDs to Names")
@click.argument("services", metavar="SERVICE...", nargs=-1, required=True, shell_complete=complete.services)
@with_session
def ps(
    session: Session,
    filters: tuple[str, ...],
    style: str,
    services: tuple[str, ...],
    *,
    quiet: bool,
    no_trunc: bool,
    no_resolve: bool,
) -> int:
    """List the tasks of one or more services."""
    chosen: list[str] = []

    def find(name: str) -> None:
        chosen.append(service_change.get(session, name).service.id)

    code = for_each(services, find)
    if not chosen:
        return code
    tasks = swarm_lists.tasks(session, {**parse_filters(filters), "service": chosen})
    nodes = [] if no_resolve else swarm_lists.nodes(session)[0]
    rows = task_view.rows(
        tasks,
        {node.id: node for node in nodes},
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
    return code


@command()
@inspect_format_option
@click.option("--pretty", is_flag=True, help="Print the information in a human friendly format")
@click.argument("services", metavar="SERVICE...", nargs=-1, required=True, shell_complete=complete.services)
@with_session
def inspect(session: Session, style: str, services: tuple[str, ...], *, pretty: bool) -> int:
    """Display detailed information on one or more services."""
    found: list[pb.ServiceWithCounts] = []

    def get(name: str) -> None:
        found.append(service_change.get(session, name, insert_defaults=True))

    code = for_each(services, get)
    if pretty:
        print("\n\n".join(view.pretty(entry) for entry in found))
    else:
        output.print_inspect([view.inspect(entry) for entry in found], style)
    return code


@command()
@click.argument("services", metavar="SERVICE...", nargs=-1, required=True, shell_complete=complete.services)
@with_session
def rm(session: Session, services: tuple[str, ...]) -> int:
    """Remove one or more services."""

    def remove(name: str) -> str:
        request = pb.RemoveServiceRequest(service=name)
        session.call(api.Services.RemoveService, request, timeout_s=service_change.WRITE_TIMEOUT_S)
        return name

    return for_each(services, remove)
