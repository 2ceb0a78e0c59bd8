"""swarmctl checkpoint …"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, complete
from cli.command import command, with_session
from cli.format import output
from cli.views import checkpoint as view

if TYPE_CHECKING:
    from cli.session import Session

MAKE_TIMEOUT_S = 660.0
CALL_TIMEOUT_S = 60.0

_DIRECTORY = click.option(
    "--checkpoint-dir",
    "directory",
    default="",
    metavar="string",
    help="Use a custom checkpoint storage directory",
)
_CONTAINER = click.argument("container", shell_complete=complete.containers)
_CHECKPOINT = click.argument("checkpoint")


def absolute(directory: str) -> str:
    """Return a directory as the daemon takes it."""
    return os.path.abspath(directory) if directory else ""  # noqa: PTH100 (pathlib is not loaded for this)


@command()
@_DIRECTORY
@click.option("--leave-running", is_flag=True, help="Leave the container running after checkpoint")
@_CONTAINER
@_CHECKPOINT
@with_session
def create(session: Session, container: str, checkpoint: str, directory: str, *, leave_running: bool) -> None:
    """Create a checkpoint from a running container."""
    request = pb.CheckpointContainerRequest(
        container=container,
        checkpoint=checkpoint,
        directory=absolute(directory),
        leave_running=leave_running,
    )
    session.call(api.Containers.CheckpointContainer, request, timeout_s=MAKE_TIMEOUT_S)
    print(checkpoint)


@command()
@_DIRECTORY
@_CONTAINER
@with_session
def ls(session: Session, container: str, directory: str) -> None:
    """List checkpoints for a container."""
    request = pb.ListCheckpointsRequest(container=container, directory=absolute(directory))
    found: Any = session.call(api.Containers.ListCheckpoints, request, timeout_s=MAKE_TIMEOUT_S)
    rows = [view.row(checkpoint) for checkpoint in found.checkpoints]
    output.print_rows(rows, style="", default=view.DEFAULT, headers=view.HEADERS)


@command()
@_DIRECTORY
@_CONTAINER
@_CHECKPOINT
@with_session
def rm(session: Session, container: str, checkpoint: str, directory: str) -> None:
    """Remove a checkpoint."""
    request = pb.RemoveCheckpointRequest(
        container=container, checkpoint=checkpoint, directory=absolute(directory)
    )
    session.call(api.Containers.RemoveCheckpoint, request, timeout_s=CALL_TIMEOUT_S)
