"""Reading whole lists from the control API, page by page, and telling when they may be old."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2 as pb
from cli import api
from cli.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from beeyard.swarm.v1 import objects_pb2 as objects
    from cli.session import Session

PAGE_SIZE = 500
READ_TIMEOUT_S = 15.0
DESIRED_STATES = ("running", "shutdown", "accepted", "ready", "complete", "remove")
"""The first three are docker's; the others occur too."""
STALE = "Warning: the swarm has no leader: this may be out of date"


def filters(chosen: Mapping[str, Sequence[str]]) -> pb.Filters:
    """Filters as the API takes them."""
    return pb.Filters(by_key={key: pb.FilterValues(values=values) for key, values in chosen.items()})


def warn_stale(stale: bool) -> None:
    """Say on standard error that an answer may be old."""
    if stale:
        print(STALE, file=sys.stderr)


def nodes(
    session: Session, chosen: Mapping[str, Sequence[str]] | None = None
) -> tuple[list[objects.Node], str]:
    """All nodes, and the id of the node that was asked."""
    found: list[objects.Node] = []
    token = ""
    while True:
        request = pb.ListNodesRequest(filters=filters(chosen or {}), page_size=PAGE_SIZE, page_token=token)
        page = session.call(api.Nodes.ListNodes, request, timeout_s=READ_TIMEOUT_S)
        found += page.nodes
        token = page.next_page_token
        if not token:
            warn_stale(page.stale)
            return found, page.self_node_id


def services(
    session: Session, chosen: Mapping[str, Sequence[str]] | None = None
) -> list[pb.ServiceWithCounts]:
    """All services with their counts."""
    found: list[pb.ServiceWithCounts] = []
    token = ""
    while True:
        request = pb.ListServicesRequest(filters=filters(chosen or {}), page_size=PAGE_SIZE, page_token=token)
        page = session.call(api.Services.ListServices, request, timeout_s=READ_TIMEOUT_S)
        found += page.services
        token = page.next_page_token
        if not token:
            warn_stale(page.stale)
            return found


def tasks(
    session: Session, chosen: Mapping[str, Sequence[str]], *, quiet: bool = False
) -> list[objects.Task]:
    """All tasks that the filters select.

    Raises:
        errors.Invalid: A desired state that tasks do not have.
    """
    for wanted in chosen.get("desired-state", ()):
        if wanted.lower() not in DESIRED_STATES:
            raise invalid(f"--filter desired-state={wanted}: there are {', '.join(DESIRED_STATES)}")
    found: list[objects.Task] = []
    token = ""
    while True:
        request = pb.ListTasksRequest(filters=filters(chosen), page_size=PAGE_SIZE, page_token=token)
        page = session.call(api.Tasks.ListTasks, request, timeout_s=READ_TIMEOUT_S)
        found += page.tasks
        token = page.next_page_token
        if not token:
            warn_stale(page.stale and not quiet)
            return found
