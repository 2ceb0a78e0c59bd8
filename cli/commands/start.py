"""swarmctl start"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import api, complete, locate
from cli.command import command, for_each_at_once, with_session
from cli.commands import foreground
from cli.commands.checkpoint import absolute
from cli.errors import invalid
from services.kit import detach_keys as keys

if TYPE_CHECKING:
    from cli.session import Session
    from cli.transport.call import Call


@command()
@click.option("-a", "--attach", is_flag=True, help="Attach STDOUT/STDERR and forward signals")
@click.option("--checkpoint", default="", metavar="string", help="Restore from this checkpoint")
@click.option(
    "--checkpoint-dir",
    "directory",
    default="",
    metavar="string",
    help="Use a custom checkpoint storage directory",
)
@click.option("--detach-keys", default="", metavar="string", help="Override the key sequence for detaching")
@click.option("-i", "--interactive", is_flag=True, help="Attach container's STDIN")
@click.argument(
    "containers", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=complete.containers
)
@with_session
def start(
    session: Session,
    containers: tuple[str, ...],
    detach_keys: str,
    checkpoint: str,
    directory: str,
    *,
    attach: bool,
    interactive: bool,
) -> int:
    """Start one or more stopped containers."""
    keys.parse(detach_keys)
    if checkpoint:
        if attach or interactive or len(containers) > 1:
            raise invalid(
                "--checkpoint restores one container, and does not attach to it: use `attach` after"
            )
        return _restore(session, containers[0], checkpoint, directory)
    if directory:
        raise invalid("--checkpoint-dir goes with --checkpoint")
    if not attach and not interactive:

        def begin(name: str) -> Call[pb.StartContainerRequest, pb.StartContainerResponse]:
            request = pb.StartContainerRequest(container=name)
            return session.start(api.Containers.StartContainer, request, timeout_s=foreground.START_TIMEOUT_S)

        return for_each_at_once(containers, begin)
    if len(containers) > 1:
        raise invalid("you cannot start and attach multiple containers at once")
    found = locate.get(session, containers[0])
    stdin = interactive and found.spec.open_stdin
    wanted = pb.AttachOpen(container=found.id, stdin=stdin, stdout=True, stderr=True, detach_keys=detach_keys)
    before = found.status.started_at if found.status.HasField("started_at") else None
    tty = found.spec.tty
    return foreground.start(session, wanted, tty=tty, sig_proxy=not tty, started_at=before)


def _restore(session: Session, container: str, checkpoint: str, directory: str) -> int:
    request = pb.RestoreContainerRequest(
        container=container, checkpoint=checkpoint, directory=absolute(directory)
    )
    session.call(api.Containers.RestoreContainer, request, timeout_s=foreground.START_TIMEOUT_S)
    print(container)
    return 0
