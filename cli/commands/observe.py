"""swarmctl top, diff and commit: what a container does, what it changed, and an image of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, complete
from cli.command import command, with_session
from cli.format import output
from cli.locate import locate

if TYPE_CHECKING:
    from cli.session import Session

TOP_TIMEOUT_S = 30.0
COLUMN_MIN = 20
"""As wide as docker's, whatever ps prints."""
COMMIT_TIMEOUT_S = 3600.0
"""A large layer is compressed and written."""
_KINDS = {pb.CHANGE_KIND_MODIFIED: "C", pb.CHANGE_KIND_ADDED: "A", pb.CHANGE_KIND_DELETED: "D"}


@command(positional_ends_options=True)
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@click.argument("ps_options", metavar="[ps OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@with_session
def top(session: Session, container: str, ps_options: tuple[str, ...]) -> None:
    """Display the running processes of a container, or of a task of the swarm by its name."""
    session, found = locate(session, container)
    request = pb.ListProcessesRequest(container=found.id, ps_args=ps_options)
    listed = session.call(api.Containers.ListProcesses, request, timeout_s=TOP_TIMEOUT_S)
    width = len(listed.titles)
    rows = [[*row.values, *[""] * width][:width] for row in listed.rows]
    print(output.align([list(listed.titles), *rows], COLUMN_MIN), end="")


@command()
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@with_session
def diff(session: Session, container: str) -> None:
    """Inspect changes to files or directories on a container's filesystem."""
    request = pb.DiffContainerRequest(container=container)
    for batch in session.start(api.Containers.DiffContainer, request):
        output.print_lines(f"{_KINDS.get(change.kind, '?')} {change.path}" for change in batch.changes)


@command(positional_ends_options=True)
@click.option("-a", "--author", default="", metavar="string", help="Author")
@click.option("-c", "--change", "changes", multiple=True, metavar="list", help="Apply Dockerfile instruction")
@click.option("-m", "--message", default="", metavar="string", help="Commit message")
@click.option("-p", "--pause/--no-pause", default=True, help="Pause container during commit (true)")
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@click.argument("reference", metavar="[REPOSITORY[:TAG]]", default="")
@with_session
def commit(
    session: Session,
    author: str,
    changes: tuple[str, ...],
    message: str,
    container: str,
    reference: str,
    *,
    pause: bool,
) -> None:
    """Create a new image from a container's changes."""
    request = pb.CommitContainerRequest(
        container=container,
        reference=reference,
        author=author,
        message=message,
        changes=changes,
        no_pause=not pause,
    )
    print(session.call(api.Containers.CommitContainer, request, timeout_s=COMMIT_TIMEOUT_S).image_id)
