"""Finding a container by what the user called it: one of the node's own, or a task of the swarm wherever it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from beeyard.container.v1 import container_pb2 as pb
from cli import api
from cli.session import Session
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_TIMEOUT_S = 30.0
LOCATE_TIMEOUT_S = 15.0
_NO_SWARM = frozenset({"NOT_IN_SWARM", "NOT_A_MANAGER", "TASK_NOT_FOUND", "SERVICE_NOT_FOUND"})


class Located(NamedTuple):
    """A container, and the session that reaches its node."""

    session: Session
    container: pb.Container


def locate(session: Session, name: str) -> Located:
    """Find a container of the node, else a task of the swarm by that name, which may run on any node.

    Raises:
        errors.NotFound: There is neither.
        errors.BeeyardError: It cannot be asked for.
    """
    try:
        return Located(session, get(session, name))
    except errors.NotFound as exc:
        missing = exc
    from beeyard.swarm.v1 import control_pb2

    try:
        found = session.call(
            api.Execs.LocateTask, control_pb2.LocateTaskRequest(task=name), timeout_s=LOCATE_TIMEOUT_S
        )
    except (errors.NotFound, errors.Unavailable, errors.Unsupported, errors.FailedPrecondition) as exc:
        if isinstance(exc, errors.FailedPrecondition) and exc.reason not in _NO_SWARM:
            raise
        raise missing from None
    remote = session.on_node(found.node_id)
    return Located(remote, get(remote, found.container_id))


def get(session: Session, name: str, *, size: bool = False, root_layers: bool = False) -> pb.Container:
    """Read one container of the node; with its size or the directories of its root, if that is asked for.

    Raises:
        errors.NotFound: CONTAINER_NOT_FOUND.
    """
    request = pb.GetContainerRequest(container=name, size=size, root_layers=root_layers)
    return session.call(api.Containers.GetContainer, request, timeout_s=READ_TIMEOUT_S).container


def pages(
    session: Session, request: pb.ListContainersRequest, timeout_s: float = READ_TIMEOUT_S
) -> Iterator[pb.Container]:
    """Read containers, page by page."""
    while True:
        page = session.call(api.Containers.ListContainers, request, timeout_s=timeout_s)
        yield from page.containers
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
