"""swarmctl attach"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from beeyard.container.v1 import container_pb2 as pb
from cli import complete, terminal
from cli.command import command, with_session
from cli.commands import foreground
from cli.errors import invalid
from cli.locate import locate
from services.kit import errors

if TYPE_CHECKING:
    from cli.session import Session

_NOT_NOW = {
    pb.CONTAINER_STATE_PAUSED: "cannot attach to a paused container, unpause it first",
    pb.CONTAINER_STATE_RESTARTING: "cannot attach to a restarting container, wait until it is running",
}


@command()
@click.option("--detach-keys", default="", metavar="string", help="Override the key sequence for detaching")
@click.option("--no-stdin", is_flag=True, help="Do not attach STDIN")
@click.option(
    "--sig-proxy/--no-sig-proxy", default=True, help="Proxy all received signals to the process (true)"
)
@click.argument("container", metavar="CONTAINER", shell_complete=complete.containers)
@with_session
def attach(session: Session, container: str, detach_keys: str, *, no_stdin: bool, sig_proxy: bool) -> int:
    """Attach local standard input, output, and error streams to a running container."""
    session, found = locate(session, container)
    if found.status.state != pb.CONTAINER_STATE_RUNNING:
        raise errors.FailedPrecondition(
            _NOT_NOW.get(found.status.state, "cannot attach to a stopped container, start it first"),
            reason="CONTAINER_NOT_RUNNING",
        )
    tty = found.spec.tty
    if tty and not no_stdin and not terminal.is_terminal(terminal.STDIN):
        raise invalid("the input device is not a TTY")
    wanted = pb.AttachOpen(
        container=found.id,
        stdin=not no_stdin and found.spec.open_stdin,
        stdout=True,
        stderr=True,
        detach_keys=detach_keys,
    )
    opened = foreground.open_streams(session, wanted)
    if tty and (size := terminal.size()) is not None:
        # A size that changes makes the program draw itself; the second is the true one.
        for rows, columns in ((size.rows + 1, size.columns + 1), (size.rows, size.columns)):
            opened.call.post(pb.AttachContainerRequest(resize=pb.TerminalSize(rows=rows, columns=columns)))
    # Several may be attached to one terminal: a signal is for this client. With `run` it is for the program.
    ending = foreground.follow(session, opened, wanted, tty=tty, sig_proxy=sig_proxy and not tty)
    if ending is None:
        print("read escape sequence", file=sys.stderr)
        return 1
    return foreground.exit_code(ending)
